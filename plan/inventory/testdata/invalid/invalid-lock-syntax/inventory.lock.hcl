<<<<<<< HEAD
subnets = {}

# An inventory
cluster:
  name: c
  version: 1.36.3
hosts:
  - name: a

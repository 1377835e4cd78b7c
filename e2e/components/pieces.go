package components

// clusterPieces lists what a cluster needs, the longest build first.
func clusterPieces(v Versions) []piece {
	packages := &debian{}
	return []piece{
		kubernetesPiece(v),
		coreDNSPiece(v),
		containerdPiece(v),
		etcdPiece(v),
		cniPiece(v),
		pausePiece(v),
		runcPiece(v, packages),
		toolboxPiece(packages),
	}
}

//go:build tools

// Package tools pins what the testbed builds from this module; nothing here is compiled into anything.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "helm.sh/helm/v3/cmd/helm"
	_ "sigs.k8s.io/kind"
)

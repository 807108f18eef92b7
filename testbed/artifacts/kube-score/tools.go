//go:build tools

// Package tools pins what the testbed builds from this module; nothing here is compiled into anything.
package tools

import _ "github.com/zegl/kube-score/cmd/kube-score"

//go:build tools

// Package tools names the programs that the bench builds from this module.
package tools

import (
	_ "github.com/norwoodj/helm-docs/cmd/helm-docs"
)

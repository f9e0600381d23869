//go:build tools

// Package tools names the programs that the bench builds from this module.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)

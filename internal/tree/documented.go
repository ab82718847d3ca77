package tree

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// selfEvident are methods whose meaning their interface in the standard library gives.
var selfEvident = []string{"String", "Error", "Unwrap", "Is", "As", "Len", "Less", "Swap", "Read", "Write",
	"Close", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON"}

// undocumented lists exported names without a comment (invariant 5). Tests and commands export
// nothing.
func undocumented(f *file) []string {
	if f.test || f.syntax.Name.Name == "main" {
		return nil
	}
	var wrong []string
	complain := func(name *ast.Ident) {
		wrong = append(wrong, fmt.Sprintf("%s: exported %s has no comment", f.set.Position(name.Pos()), name.Name))
	}
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && reachable(d) && !slices.Contains(selfEvident, d.Name.Name) {
				complain(d.Name)
			}
		case *ast.GenDecl:
			for _, name := range bare(d) {
				complain(name)
			}
		}
	}
	return wrong
}

// reachable reports whether a function is one, or a method of an exported type.
func reachable(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	receiver := d.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return true
		}
	}
}

// bare are a declaration's exported names that no comment speaks of: neither the group's, nor one
// above the name, nor one behind it.
func bare(d *ast.GenDecl) []*ast.Ident {
	if d.Doc != nil || d.Tok == token.IMPORT {
		return nil
	}
	var names []*ast.Ident
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
				names = append(names, s.Name)
			}
		case *ast.ValueSpec:
			if s.Doc != nil || s.Comment != nil {
				continue
			}
			for _, n := range s.Names {
				if n.IsExported() {
					names = append(names, n)
				}
			}
		}
	}
	return names
}

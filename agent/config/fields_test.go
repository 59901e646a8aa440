package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// byConstant are the fields whose names the sources take from constants.
var byConstant = map[string]string{
	"dodai.BatteryCharge": "battery.charge", "dodai.BatteryRuntime": "battery.runtime", "dodai.InputVoltage": "input.voltage",
}

// TestEventFields finds every fact an event is given in the sources: a hook must be able
// to name each of them, and no other.
func TestEventFields(t *testing.T) {
	found := map[string]bool{}
	for _, dir := range []string{"..", "../policy", "../drill", "../shutdown", "../shutdown/action", "../killpower", "../notify", "../journal"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources in %s: %v", dir, err)
		}
		for _, path := range files {
			if !strings.HasSuffix(path, "_test.go") {
				fieldsOf(t, path, found)
			}
		}
	}
	want := slices.Sorted(maps.Keys(found))
	got := slices.Sorted(slices.Values(EventFields))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields, -given by the sources +known to hooks:\n%s", diff)
	}
}

// fieldsOf collects the keys of every map[string]any in a file that makes events.
func fieldsOf(t *testing.T, path string, found map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	source := string(text)
	if !strings.Contains(source, "ields") && !strings.Contains(source, "emit(") { // it makes no events
		return
	}
	for constant, name := range byConstant {
		if strings.HasSuffix(path, "policy/observe.go") && strings.Contains(source, "{"+constant+", f.") {
			found[name] = true
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, _ := strconv.Unquote(lit.Value)
			found[name] = true
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if m, ok := n.Type.(*ast.MapType); ok && isAny(m) {
				for _, e := range n.Elts {
					add(e.(*ast.KeyValueExpr).Key)
				}
			}
		case *ast.AssignStmt:
			for _, l := range n.Lhs {
				if ix, ok := l.(*ast.IndexExpr); ok && isFields(ix.X) {
					add(ix.Index)
				}
			}
		}
		return true
	})
}

func isAny(m *ast.MapType) bool {
	v, ok := m.Value.(*ast.Ident)
	return ok && v.Name == "any"
}

func isFields(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && (id.Name == "fields" || id.Name == "f")
}

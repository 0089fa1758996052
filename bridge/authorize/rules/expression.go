package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/ext"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxExpression bounds the text of an expression, in bytes.
	maxExpression = 4 << 10
	// maxCost bounds what one evaluation may cost, in the units of CEL: about one for each
	// step, and for each ten bytes of text that a step reads. CEL takes time with the square
	// of it to count: some milliseconds at this bound.
	maxCost = 10_000
	// maxRequestCost bounds what all evaluations for one request or one list may cost.
	maxRequestCost = 1_000_000
	// maxArguments bounds the arguments that an expression can judge, in bytes: they are
	// decoded for it.
	maxArguments = 1 << 20
)

// Variables of an expression.
const (
	varPrincipal = "principal"
	varMethod    = "method"
	varName      = "name"
	varArguments = "arguments"
)

// Errors of an evaluation. Their texts have nothing of the request.
var (
	errTooMuch    = errors.New("the expressions of this request cost too much")
	errEvaluation = errors.New("the expression cannot be evaluated with these values")
	errArguments  = errors.New("the arguments are not an object")
	errLong       = errors.New("the arguments are too long to be judged")
	errSameNames  = errors.New("two arguments have names that are equal but for case")
)

// expression is a compiled CEL expression.
type expression struct {
	text          string
	program       cel.Program
	usesArguments bool
	usesName      bool
}

// environment is that of all expressions. It has the libraries of Caddy's matcher
// `expression` that do not concern HTTP, optional values, and [within].
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable(varPrincipal, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(varMethod, cel.StringType),
		cel.Variable(varName, cel.StringType),
		cel.Variable(varArguments, cel.MapType(cel.StringType, cel.DynType)),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Bindings(),
		ext.Lists(),
		ext.Math(),
		within,
	)
})

func newExpression(text string) (*expression, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("it is too long: write at most %d bytes", maxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		message := strings.Join(strings.Fields(first.Message), " ")
		return nil, fmt.Errorf("column %d: %s%s", first.Location.Column()+1, message, cureOf(message))
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("it is of type %s: write a condition that is true or false, as in when `\"admin\" in principal.claims.groups`", out)
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, err
	}
	e := &expression{text: text, program: program}
	unknown := ""
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.SelectKind && isPrincipal(x.AsSelect().Operand()) && !slices.Contains(principalMembers, x.AsSelect().FieldName()) {
			unknown = x.AsSelect().FieldName()
		}
		if x.Kind() == ast.IdentKind {
			switch strings.TrimPrefix(x.AsIdent(), ".") {
			case varArguments:
				e.usesArguments = true
			case varName:
				e.usesName = true
			}
		}
	}))
	if unknown != "" {
		return nil, fmt.Errorf("principal has no member %q: write one of %s; a claim is in its claims, as in `principal.claims.groups`", unknown, strings.Join(principalMembers, ", "))
	}
	return e, nil
}

// cureOf ends the message of an expression that CEL does not accept.
func cureOf(message string) string {
	switch {
	case strings.HasPrefix(message, "undeclared reference"):
		return ": write one of principal, method, name and arguments, as in `principal.claims.groups`"
	case strings.HasPrefix(message, "Syntax error"):
		return ": write texts in quotes, and `==` to compare"
	}
	return ""
}

// principalMembers are the members of the variable principal.
var principalMembers = []string{"issuer", "subject", "client_id", "scopes", "claims", "kind", "key"}

func isPrincipal(x ast.Expr) bool {
	return x.Kind() == ast.IdentKind && strings.TrimPrefix(x.AsIdent(), ".") == varPrincipal
}

// variables are the variables of one evaluation. They are computed when they are read.
type variables struct {
	principal func() map[string]any
	method    string
	name      string
	arguments func() (map[string]any, error)
	err       error // of a variable
}

// ResolveName implements [cel.Activation].
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case varPrincipal:
		return v.principal(), true
	case varMethod:
		return v.method, true
	case varName:
		return strings.ToValidUTF8(v.name, "\ufffd"), true
	case varArguments:
		arguments, err := v.arguments()
		if err != nil {
			v.err = err
		}
		return arguments, err == nil
	}
	return nil, false
}

// Parent implements [cel.Activation].
func (v *variables) Parent() cel.Activation { return nil }

// holds evaluates the expression, and returns what that cost.
func (e *expression) holds(v *variables) (holds bool, cost uint64, err error) {
	out, details, err := e.program.Eval(cel.Activation(v))
	cost = maxCost
	if details != nil && details.ActualCost() != nil {
		cost = min(*details.ActualCost(), maxCost)
	}
	if v.err != nil {
		return false, cost, v.err // even if the expression goes on without the variable
	}
	if err != nil {
		return false, cost, e.safeError(err)
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return false, cost, fmt.Errorf("the expression is of type %s, and must be true or false", out.Type().TypeName())
	}
	return holds, cost, nil
}

// safeError returns an error of an evaluation without the values that CEL puts into some: they
// may be arguments or claims.
func (e *expression) safeError(err error) error {
	text := err.Error()
	for _, plain := range []string{"no such overload", "division by zero", "modulus by zero", "index out of bounds", "cost limit exceeded"} {
		if strings.Contains(text, plain) {
			return errors.New(plain)
		}
	}
	for _, kind := range []string{"no such key", "no such attribute"} {
		if name, ok := strings.CutPrefix(text, kind+": "); ok {
			if slices.Contains(words(e.text), name) { // the operator has written it
				return errors.New(text)
			}
			return errors.New(kind)
		}
	}
	return errEvaluation
}

// words returns the names and texts of an expression.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// decodeArguments decodes arguments for an expression. Names that a reader could take for
// each other are an error: the expression would judge one, and the server use the other.
func decodeArguments(raw []byte) (map[string]any, error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return map[string]any{}, nil
	case raw[0] != '{':
		return nil, errArguments
	case len(raw) > maxArguments:
		return nil, errLong
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var all map[string]any
	if err := dec.Decode(&all); err != nil {
		return nil, errArguments
	}
	return all, checkNames(all)
}

// checkNames returns an error if an object has two names that are equal but for case.
func checkNames(value any) error {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			if err := checkNames(one); err != nil {
				return err
			}
		}
	case map[string]any:
		seen := make(map[string]struct{}, len(v))
		for name, one := range v {
			seen[message.FoldName([]byte(name))] = struct{}{}
			if err := checkNames(one); err != nil {
				return err
			}
		}
		if len(seen) < len(v) {
			return errSameNames
		}
	}
	return nil
}

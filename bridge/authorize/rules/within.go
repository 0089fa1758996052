package rules

import (
	"path"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// within is the function of expressions that judges the paths of files among the arguments:
// `arguments.path.within("/srv")`. To compare how a path begins would let /srv/../etc pass.
var within = cel.Function("within", cel.MemberOverload("string_within_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
	cel.BinaryBinding(func(file, folder ref.Val) ref.Val {
		to := cleanFolder(string(folder.(types.String)))
		if to == "" {
			return types.NewErr("within: the folder is no absolute path")
		}
		text := string(file.(types.String))
		return types.Bool(isWithin(text, to) && isWithin(decodeAll(text), to))
	})))

// isWithin reports whether an absolute path is that of a folder, or of something in it. A path
// with `..` is in none: where it leads depends on links.
func isWithin(file, folder string) bool {
	if strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	file = cleanFolder(file)
	return file != "" && (file == folder || strings.HasPrefix(file, strings.TrimSuffix(folder, "/")+"/"))
}

// cleanFolder returns an absolute path with one slash for several and for each backslash; "" for
// a path that is relative or has `..`.
func cleanFolder(text string) string {
	text = strings.ReplaceAll(text, `\`, "/")
	drive := len(text) > 2 && isDrive(text[:2]) && text[2] == '/'
	if !drive && !strings.HasPrefix(text, "/") {
		return ""
	}
	for segment := range strings.SplitSeq(text, "/") {
		if strings.TrimRight(segment, " ") == ".." {
			return ""
		}
	}
	return path.Clean(text)
}

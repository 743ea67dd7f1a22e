package inspect

// Paint says whether to colour.
type Paint bool

// The colours, by what they mean.
const (
	paintGood  = "32"
	paintBad   = "31"
	paintMaybe = "33"
	paintTitle = "1"
	paintQuiet = "2"
)

func (p Paint) as(colour, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// Title is for headings.
func (p Paint) Title(s string) string { return p.as(paintTitle, s) }

// Good is for what is as it should be.
func (p Paint) Good(s string) string { return p.as(paintGood, s) }

// Bad is for what is not.
func (p Paint) Bad(s string) string { return p.as(paintBad, s) }

// Maybe is for what deserves a look.
func (p Paint) Maybe(s string) string { return p.as(paintMaybe, s) }

// Quiet is for what is rarely read.
func (p Paint) Quiet(s string) string { return p.as(paintQuiet, s) }

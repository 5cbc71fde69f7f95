// The JSON face of a result: one object, indented, with a newline at its end.

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// JSON writes value as one indented JSON object. Characters such as < stay as
// they are, since the text goes to files and pipes and not into HTML. Nothing
// is written when value cannot be encoded.
func JSON(w io.Writer, value any) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("write the result as JSON: %w", err)
	}
	_, err := w.Write(out.Bytes())
	return err
}

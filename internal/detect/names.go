// What exporters write into a model's metadata: the names of its classes, the size it is
// meant for, the task. Models of COCO's 80 classes have their names without.
package detect

import (
	"strconv"
	"strings"
)

// COCO's 80 classes in their usual order.
const cocoNames = `person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|` +
	`parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|` +
	`frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|` +
	`wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|` +
	`couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|` +
	`refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush`

// classNames are the names for a number of classes; metadata names are taken
// when there are as many.
func classNames(metadata []string, classes int) []string {
	if len(metadata) == classes {
		return metadata
	}
	if coco := strings.Split(cocoNames, "|"); classes == len(coco) {
		return coco
	}
	names := make([]string, max(classes, 0))
	for i := range names {
		names[i] = "class" + strconv.Itoa(i)
	}
	return names
}

// metadataNames reads the names that Ultralytics writes into its models' metadata, or
// RapidAI (one in each line). nil when there are none.
func metadataNames(m map[string]string) []string {
	if lines := strings.TrimSpace(m["character"]); m["names"] == "" && lines != "" {
		names := strings.Split(lines, "\n")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
		return names
	}
	return pythonNames(m["names"])
}

// pythonNames reads a Python dict ({0: 'person', 1: "driver's seat"}, in any order) or
// list. nil when the text is neither, or the keys are not 0, 1, 2 ...
func pythonNames(text string) []string {
	text = strings.TrimSpace(text)
	if len(text) < 2 || len(text) > 1<<20 {
		return nil
	}
	dict := text[0] == '{' && text[len(text)-1] == '}'
	if !dict && (text[0] != '[' || text[len(text)-1] != ']') {
		return nil
	}
	rest := strings.TrimSpace(text[1 : len(text)-1])
	byIndex := map[int]string{}
	for rest != "" {
		index := len(byIndex)
		if dict {
			key, after, ok := strings.Cut(rest, ":")
			key = strings.Trim(strings.TrimSpace(key), `'"`)
			var err error
			if index, err = strconv.Atoi(key); !ok || err != nil {
				return nil
			}
			rest = strings.TrimSpace(after)
		}
		name, after, ok := quotedName(rest)
		if _, twice := byIndex[index]; !ok || twice {
			return nil
		}
		byIndex[index] = name
		rest = strings.TrimSpace(after)
		if rest != "" {
			if rest[0] != ',' {
				return nil
			}
			rest = strings.TrimSpace(rest[1:])
		}
	}
	var names []string
	for i := range len(byIndex) {
		name, known := byIndex[i]
		if !known {
			return nil
		}
		names = append(names, name)
	}
	return names
}

// quotedName reads one Python string literal and returns what follows it.
func quotedName(s string) (name, rest string, ok bool) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// MetadataSize is the size of input that an Ultralytics model says it is exported for, as
// [height, width] or one number for both; zeros when it says nothing.
func MetadataSize(m map[string]string) (height, width int) {
	parts := strings.Split(strings.Trim(strings.TrimSpace(m["imgsz"]), "[]()"), ",")
	var sides [2]int
	for i := range sides {
		n, err := strconv.Atoi(strings.TrimSpace(parts[min(i, len(parts)-1)]))
		if err != nil || n < 1 || n > 1<<14 || len(parts) > 2 {
			return 0, 0
		}
		sides[i] = n
	}
	return sides[0], sides[1]
}

// MetadataTask is what an Ultralytics model says it does, such as "segment"; "" when it
// says nothing, or that it detects.
func MetadataTask(m map[string]string) string {
	if m["task"] == "detect" {
		return ""
	}
	return m["task"]
}

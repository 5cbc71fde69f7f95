package coco

import (
	"bytes"
	"encoding/binary"
)

// orientation finds EXIF's orientation tag (1 to 8) in an image file; 1, upright, where there is none. Cameras store how they were held, and viewers,
// OpenCV included, turn the picture accordingly; boxes are drawn on what viewers
// show. Whatever is malformed counts as not there.
func orientation(data []byte, format string) int {
	switch format {
	case "JPEG":
		return exifOrientation(jpegEXIF(data))
	case "PNG":
		return exifOrientation(pngEXIF(data))
	case "WebP":
		return exifOrientation(webpEXIF(data))
	case "TIFF":
		return exifOrientation(data)
	}
	return 1
}

// jpegEXIF is the TIFF structure inside the APP1 segment; nil without one.
func jpegEXIF(data []byte) []byte {
	const (
		app1        = 0xe1
		startOfScan = 0xda
	)
	for p := 2; p+4 <= len(data) && data[p] == 0xff; {
		marker := data[p+1]
		if marker == 0xff { // padding
			p++
			continue
		}
		length := int(binary.BigEndian.Uint16(data[p+2:]))
		if marker == startOfScan || length < 2 || p+2+length > len(data) {
			return nil
		}
		if body, ok := bytes.CutPrefix(data[p+4:p+2+length], []byte("Exif\x00\x00")); ok && marker == app1 {
			return body
		}
		p += 2 + length
	}
	return nil
}

// pngEXIF is the content of the eXIf chunk; nil without one.
func pngEXIF(data []byte) []byte {
	for p := 8; p+12 <= len(data); {
		length := int64(binary.BigEndian.Uint32(data[p:]))
		if int64(p)+12+length > int64(len(data)) {
			return nil
		}
		if string(data[p+4:p+8]) == "eXIf" {
			return data[p+8 : p+8+int(length)]
		}
		p += 12 + int(length)
	}
	return nil
}

// webpEXIF is the content of the EXIF chunk, which some begin as a JPEG's; nil without one.
func webpEXIF(data []byte) []byte {
	for p := 12; p+8 <= len(data); {
		length := int64(binary.LittleEndian.Uint32(data[p+4:]))
		if int64(p)+8+length > int64(len(data)) {
			return nil
		}
		if string(data[p:p+4]) == "EXIF" {
			return bytes.TrimPrefix(data[p+8:p+8+int(length)], []byte("Exif\x00\x00"))
		}
		p += 8 + int(length+length%2)
	}
	return nil
}

// exifOrientation reads tag 0x0112 of the first directory of a TIFF structure.
func exifOrientation(tiff []byte) int {
	const (
		tagOrientation = 0x0112
		typeShort      = 3
		entrySize      = 12
	)
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	directory := int64(order.Uint32(tiff[4:]))
	if directory+2 > int64(len(tiff)) {
		return 1
	}
	entries := tiff[directory+2:]
	for n := order.Uint16(tiff[directory:]); n > 0 && len(entries) >= entrySize; n-- {
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == typeShort {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[entrySize:]
	}
	return 1
}

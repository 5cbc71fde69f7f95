package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/report"
)

func TestDoctorWithoutTheCPUBackend(t *testing.T) {
	t.Setenv("TRTACT_LIB", t.TempDir())
	r := run(t, "doctor", "--json")
	var got doctorResult
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if r.code != fault.CodeFailed || got.OK || !strings.Contains(r.err, "make build") {
		t.Errorf("exit %d, ok %v, %q", r.code, got.OK, r.err)
	}
	if text := run(t, "doctor"); text.code != fault.CodeFailed || !strings.Contains(text.out, "not found") {
		t.Errorf("exit %d: %s", text.code, text.out)
	}
}

// Whatever is missing, doctor says what it is for and how to get it.
func TestDoctorExplainsEveryPart(t *testing.T) {
	r, err := examine(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Parts {
		if p.Name == "" || p.For == "" || p.Get == "" {
			t.Errorf("%+v", p)
		}
		if p.Found && p.Path == "" {
			t.Errorf("%s was found nowhere", p.Name)
		}
	}
}

func TestDoctorTable(t *testing.T) {
	var out bytes.Buffer
	s := &session{out: &out, width: 80}
	err := s.writeDoctor(doctorResult{OK: true, Parts: []part{
		{Name: "CPU backend (oneDNN)", Found: true, Version: "oneDNN 3.2.0", Path: "build/lib/libtrtact_cpu_v4.so"},
		{Name: "CUDA driver", For: "building engines and running them", Get: "install the NVIDIA driver of your distribution, or pass it into the container"},
		{Name: "cuDNN", Path: "/usr/lib/libcudnn.so.9", Problem: "file too short", For: "computing on the GPU", Get: "install it"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	snapshot(t, "doctor.txt", out.String())
	for _, line := range strings.Split(out.String(), "\n") {
		if report.Width(line) > 80 {
			t.Errorf("line of %d columns: %q", report.Width(line), line)
		}
	}
}

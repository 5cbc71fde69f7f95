package gpu

import (
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"

	"trtact/internal/fault"
)

// busy is GPU 2 of the machine with counters that go on.
func busy(t *testing.T, bits uint64) (*mock.Interface, *mock.Device) {
	t.Helper()
	s := machine()
	d, _ := s.DeviceGetHandleByIndex(2)
	m := d.(*mock.Device)
	m.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return bits, nvml.SUCCESS }
	var calls atomic.Uint64
	m.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) { return 1000 * calls.Add(1), nvml.SUCCESS }
	return s, m
}

func TestMoment(t *testing.T) {
	s, _ := busy(t, 1|4|32) // idle is no reason
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Moment(2)
	if err != nil {
		t.Fatal(err)
	}
	if got.Time.IsZero() {
		t.Error("no time")
	}
	got.Time = time.Time{}
	want := Moment{SM: pointer(1410), Memory: pointer(1215), Temperature: pointer(42), Power: pointer(251.5), Energy: pointer(1.0),
		Slowed: []Reason{ReasonPower, ReasonHeat}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// An old driver has no energy counter; asking for it would end the process.
func TestMomentOfOldDriver(t *testing.T) {
	s, d := busy(t, 0)
	s.ExtensionsFunc = func() nvml.ExtendedInterface {
		return &mock.ExtendedInterface{LookupSymbolFunc: func(name string) error { return errors.New(name + " not found") }}
	}
	d.GetTotalEnergyConsumptionFunc = nil // the mock panics when it is called
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Moment(2); err != nil || got.Energy != nil || got.Slowed != nil || got.SM == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWatch(t *testing.T) {
	s, d := busy(t, 0)
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	var calls atomic.Int32
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) {
		n := calls.Add(1)
		if n == 5 {
			close(enough)
		}
		return uint32(40 + n), nvml.SUCCESS
	}
	w := m.Watch(2, time.Millisecond)
	<-enough
	moments, err := w.Stop()
	if err != nil || len(moments) < 5 {
		t.Fatalf("%d moments, %v", len(moments), err)
	}
	for i, one := range moments {
		if *one.Temperature != 41+i || i > 0 && one.Time.Before(moments[i-1].Time) {
			t.Errorf("moment %d: %+v", i, one)
		}
	}
}

func TestWatchOfLostGPU(t *testing.T) {
	s, _ := busy(t, 0)
	m, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	w := m.Watch(99, time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	if moments, err := w.Stop(); len(moments) != 0 || fault.Code(err) != fault.CodeNoDevice {
		t.Errorf("%d moments, %v", len(moments), err)
	}
}

func TestDuring(t *testing.T) {
	start := time.Unix(100, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	var moments []Moment
	for i := range 10 { // one a second, each hotter and using one joule more than the last did
		moments = append(moments, Moment{Time: at(float64(i)), SM: pointer(1000 + i), Temperature: pointer(50 + i), Energy: pointer(float64(i * (i + 1) / 2))})
	}
	moments[1].Slowed = []Reason{ReasonPower}
	moments[2].Slowed = []Reason{ReasonPower, ReasonHeat}
	moments[9].Slowed = []Reason{ReasonSet}
	got := During(moments, []Span{{at(0.5), at(3)}, {at(5.5), at(7.2)}}) // moments 1, 2, 3 and 6, 7
	want := Activity{
		Samples: 5, SM: &Range{1001, 1003, 1007}, Temperature: &Range{51, 53, 57},
		MeanPower: pointer((2 + 3 + 7) / 3.0),
		Slowed:    []Slowdown{{ReasonPower, 0.4}, {ReasonHeat, 0.2}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := During(moments, []Span{{at(0.1), at(0.9)}}); !reflect.DeepEqual(got, Activity{}) {
		t.Errorf("no moment: %+v", got)
	}
	if got := During(moments[:2], []Span{{at(0), at(0.5)}}); got.MeanPower != nil || got.Samples != 1 {
		t.Errorf("one moment: %+v", got)
	}
}

func TestIndex(t *testing.T) {
	m, err := open(machine())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ordinal int
		visible string
		want    int // -1: an error
	}{
		{0, "", 0}, {7, "", 7}, {8, "", -1},
		{0, "3", 3}, {1, "3, 1", 1}, {1, "3", -1}, {0, "9", -1}, {0, "-1", -1},
		{0, "GPU-5", 5}, {0, "GPU-", -1}, {0, "MIG-GPU-5/1/0", -1},
	} {
		got, err := m.Index(c.ordinal, c.visible)
		if c.want < 0 {
			if err == nil {
				t.Errorf("device %d of %q: %d, want an error", c.ordinal, c.visible, got)
			}
		} else if err != nil || got != c.want {
			t.Errorf("device %d of %q: %d, %v; want %d", c.ordinal, c.visible, got, err, c.want)
		}
	}
}

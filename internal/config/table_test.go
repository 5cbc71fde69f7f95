package config

//go:generate env TRTACT_UPDATE_SNAPSHOTS=1 go test -run ^TestPage$ .

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"trtact/internal/testenv"
)

// everyKey calls f with every key, nested ones too.
func everyKey(f func(path string, k *Key)) {
	var walk func(path string, keys []Key)
	walk = func(path string, keys []Key) {
		for i := range keys {
			f(path+"."+keys[i].Name, &keys[i])
			walk(path+"."+keys[i].Name, keys[i].Keys)
		}
	}
	for _, s := range Sections() {
		walk(s.Name, s.Keys)
	}
}

// The table hangs together: each key is of one kind, is explained, and defaults
// are values that the table itself allows.
func TestTable(t *testing.T) {
	fields := map[any]string{}
	c := Default()
	everyKey(func(path string, k *Key) {
		kinds := 0
		for _, is := range []bool{k.field != nil, k.Keys != nil, k.fixed != "", k.idle, k.refused} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("%s is of %d kinds", path, kinds)
		}
		if k.Meaning == "" || (k.field != nil || k.fixed != "") && k.Source == "" {
			t.Errorf("%s is not explained", path)
		}
		if sentence := strings.HasSuffix(k.Meaning, "."); sentence != (k.field != nil || k.Keys != nil) {
			t.Errorf("%s: full stop %v", path, sentence)
		}
		if k.field == nil {
			return
		}
		p := k.field(c)
		if other, ok := fields[p]; ok && !strings.HasSuffix(path, "regularizer.coeff") {
			t.Errorf("%s and %s are the same field", path, other)
		}
		fields[p] = path
		if isZero(p) && !k.null {
			switch path {
			case "TrainConfig.learning_rate.boundaries", "TrainConfig.learning_rate.values",
				"TrainConfig.learning_rate.eta_min",
				"TrainConfig.optimizer_builder.grad_clip.clip_norm", "TrainConfig.optimizer_builder.grad_clip.max", "TrainConfig.optimizer_builder.grad_clip.min",
				"TrainConfig.optimizer_builder.regularizer.coeff",
				"Distillation.node", "Quantization.exclude", "Quantization.include", "Deploy.targets":
			default:
				t.Errorf("%s is zero by default and must not be", path)
			}
		}
	})
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	// Every field of the configuration has its key.
	var count func(v reflect.Type) int
	count = func(v reflect.Type) int {
		if v.Kind() != reflect.Struct || v == reflect.TypeFor[Size]() {
			return 1
		}
		n := 0
		for i := range v.NumField() {
			n += count(v.Field(i).Type)
		}
		return n
	}
	all := reflect.TypeFor[Config]()
	if n := count(all) - count(reflect.TypeFor[Given]()); n != len(fields) {
		t.Errorf("the configuration has %d fields, the table %d", n, len(fields))
	}
}

// The defaults that are ACT's own are those of its strategy_config.py.
func TestDefaultsOfACT(t *testing.T) {
	want := map[string]any{
		"Distillation.loss": []string{"l2"}, "Distillation.node": []string(nil), "Distillation.alpha": []float64{1},
		"Quantization.weight_quantize_type": "channel_wise_abs_max", "Quantization.activation_quantize_type": "moving_average_abs_max",
		"Quantization.moving_rate": 0.9, "Quantization.window_size": 10000, "Quantization.use_pact": false,
		"Quantization.pact_init": 20.0, "Quantization.pact_learning_rate": 1e-4, "Quantization.pact_decay": 1e-4,
		"Quantization.scale_trainable": true, "Quantization.is_full_quantize": false, "Quantization.not_quant_pattern": []string{"skip_quant"},
		"QuantPost.hist_percent": 0.999, "QuantPost.batch_size": 32, "QuantPost.batch_nums": 0, "QuantPost.bias_correction": false,
		"QuantPost.weight_quantize_type": "channel_wise_abs_max", "QuantPost.is_full_quantize": false, "QuantPost.skip_tensor_list": []string(nil),
		"HyperParameterOptimization.ptq_algo": []string{"KL", "hist", "avg", "mse"}, "HyperParameterOptimization.bias_correct": []bool{true, false},
		"HyperParameterOptimization.weight_quantize_type": []string{"channel_wise_abs_max"}, "HyperParameterOptimization.hist_percent": []float64{0.98, 0.999},
		"HyperParameterOptimization.batch_num": []int{10, 30}, "HyperParameterOptimization.max_quant_count": 20,
		"TrainConfig.epochs": 0, "TrainConfig.eval_iter": 1000, "TrainConfig.logging_iter": 10,
		"TrainConfig.origin_metric": 0.0, "TrainConfig.target_metric": 0.0,
		"TrainConfig.optimizer_builder.optimizer.type": "SGD", "TrainConfig.optimizer_builder.weight_decay": 0.0,
	}
	everyKey(func(path string, k *Key) {
		if k.field == nil || k.Source != fromStrategy && k.Source != fromQuanter {
			return
		}
		got := reflect.ValueOf(k.field(Default())).Elem().Interface()
		if value, ok := want[path]; !ok || !reflect.DeepEqual(got, value) {
			t.Errorf("%s is said to be %v in ACT, which has %v (%v)", path, got, value, ok)
		}
		delete(want, path)
	})
	if len(want) > 0 {
		t.Errorf("not said to be ACT's: %v", want)
	}
}

const (
	pageBegin = "<!-- made by `make update-snapshots`: keys -->\n"
	pageEnd   = "<!-- end of keys -->\n"
)

// The page of the documentation has the table as it is.
func TestPage(t *testing.T) {
	path := filepath.Join(testenv.Root(), "docs", "configuration.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(data), pageBegin)
	table, after, ends := strings.Cut(rest, pageEnd)
	if !begins || !ends {
		t.Fatalf("docs/configuration.md has lost the lines between which the keys stand:\n%s%s", pageBegin, pageEnd)
	}
	if table == Document() {
		return
	}
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") != "1" {
		t.Fatal("docs/configuration.md does not have the keys as they are now; `make update-snapshots` writes them")
	}
	if err := os.WriteFile(path, []byte(before+pageBegin+Document()+pageEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

package portal

// rate is what a model costs from an instant on, in nanos of the currency per million tokens.
type rate struct {
	from                 int64 // Unix seconds
	input, output, cache int64
}

// extKind is the charge beside the tokens that a model's calls may carry.
type extKind uint8

const (
	extNone extKind = iota
	extImage
	extAudio
	extVideo
	extSearch
)

// model is one line of the price list. Sizes are drawn from [lo, lo·2^(steps+1)): many small calls, a long tail.
type model struct {
	name, kind, vendor string
	weight             int
	inLo, inSteps      int
	outLo, outSteps    int
	caches             bool
	ext                extKind
	rates              []rate // by from; spot models have two, which take turns
	spot               bool
}

// usd gives a price in nanos from thousandths of a cent, so that the list below stays readable: usd(3_00000) is 3.
func usd(cents1000 int64) int64 { return cents1000 * 10_000 }

// at is the rate in force at an instant. A spot model changes on the 1st-ish and again half a month later: every 15
// days.
func (m *model) at(sec int64) *rate {
	if m.spot {
		return &m.rates[sec/(15*86400)%int64(len(m.rates))]
	}
	i := len(m.rates) - 1
	for i > 0 && sec < m.rates[i].from {
		i--
	}
	return &m.rates[i]
}

// Dates of the price list's changes, 00:00 UTC.
const (
	sep2025 = 1756684800
	mar2026 = 1772323200
	nov2026 = 1793491200
)

func flat(in, out, cache int64) []rate {
	return []rate{{input: usd(in), output: usd(out), cache: usd(cache)}}
}

func then(r []rate, from int64, in, out, cache int64) []rate {
	return append(r, rate{from: from, input: usd(in), output: usd(out), cache: usd(cache)})
}

// priceList is the models on offer. Vendors are what discounts are agreed with.
func priceList() []model {
	return []model{
		{name: "claude-opus-4.1", kind: "text", vendor: "anthropic", weight: 12, inLo: 200, inSteps: 7, outLo: 40,
			outSteps: 5, caches: true, rates: flat(15_00000, 75_00000, 1_50000)},
		{name: "claude-sonnet-4", kind: "text", vendor: "anthropic", weight: 60, inLo: 150, inSteps: 7, outLo: 40,
			outSteps: 5, caches: true, rates: flat(3_00000, 15_00000, 30000)},
		{name: "claude-sonnet-4.5", kind: "text", vendor: "anthropic", weight: 90, inLo: 200, inSteps: 7, outLo: 40,
			outSteps: 6, caches: true, ext: extSearch, rates: flat(3_00000, 15_00000, 30000)},
		{name: "claude-haiku-4.5", kind: "text", vendor: "anthropic", weight: 70, inLo: 100, inSteps: 6, outLo: 30,
			outSteps: 5, caches: true, rates: flat(1_00000, 5_00000, 10000)},
		{name: "claude-3-5-haiku", kind: "text", vendor: "anthropic", weight: 20, inLo: 100, inSteps: 6, outLo: 30,
			outSteps: 4, caches: true, rates: flat(80000, 4_00000, 8000)},
		{name: "gpt-5", kind: "text", vendor: "openai", weight: 70, inLo: 150, inSteps: 6, outLo: 80, outSteps: 6,
			caches: true, ext: extSearch, rates: flat(1_25000, 10_00000, 12500)},
		{name: "gpt-5-mini", kind: "text", vendor: "openai", weight: 80, inLo: 120, inSteps: 6, outLo: 60, outSteps: 5,
			caches: true, rates: flat(25000, 2_00000, 2500)},
		{name: "gpt-5-nano", kind: "text", vendor: "openai", weight: 60, inLo: 60, inSteps: 5, outLo: 20, outSteps: 4,
			caches: true, rates: flat(5000, 40000, 500)},
		{name: "gpt-4.1", kind: "text", vendor: "openai", weight: 40, inLo: 150, inSteps: 7, outLo: 40, outSteps: 5,
			caches: true, rates: flat(2_00000, 8_00000, 50000)},
		{name: "gpt-4.1-mini", kind: "text", vendor: "openai", weight: 40, inLo: 120, inSteps: 6, outLo: 30, outSteps: 5,
			caches: true, rates: flat(40000, 1_60000, 10000)},
		{name: "gpt-4o", kind: "text", vendor: "openai", weight: 40, inLo: 150, inSteps: 6, outLo: 40, outSteps: 5,
			caches: true, ext: extImage, rates: flat(2_50000, 10_00000, 1_25000)},
		{name: "gpt-4o-mini", kind: "text", vendor: "openai", weight: 90, inLo: 80, inSteps: 6, outLo: 20, outSteps: 5,
			caches: true, rates: flat(15000, 60000, 7500)},
		{name: "o3", kind: "text", vendor: "openai", weight: 15, inLo: 200, inSteps: 6, outLo: 200, outSteps: 6, caches: true,
			ext: extSearch, rates: then(flat(10_00000, 40_00000, 2_50000), sep2025, 2_00000, 8_00000, 50000)},
		{name: "o4-mini", kind: "text", vendor: "openai", weight: 20, inLo: 150, inSteps: 5, outLo: 150, outSteps: 5,
			caches: true, rates: flat(1_10000, 4_40000, 27500)},
		{name: "gemini-2.5-pro", kind: "text", vendor: "google", weight: 40, inLo: 200, inSteps: 8, outLo: 60, outSteps: 6,
			caches: true, ext: extVideo, rates: then(flat(1_25000, 10_00000, 31000), mar2026, 1_25000, 10_00000, 12500)},
		{name: "gemini-2.5-flash", kind: "text", vendor: "google", weight: 70, inLo: 150, inSteps: 7, outLo: 40, outSteps: 5,
			caches: true, ext: extImage, rates: then(flat(30000, 2_50000, 7500), nov2026, 25000, 2_20000, 2500)},
		{name: "gemini-2.5-flash-lite", kind: "text", vendor: "google", weight: 50, inLo: 100, inSteps: 6, outLo: 20,
			outSteps: 5, caches: true, ext: extAudio, rates: flat(10000, 40000, 2500)},
		{name: "llama-3.3-70b-instruct", kind: "text", vendor: "meta", weight: 30, inLo: 100, inSteps: 6, outLo: 40,
			outSteps: 5, rates: flat(23000, 40000, 0)},
		{name: "llama-3.3-70b-spot", kind: "text", vendor: "meta", weight: 25, inLo: 300, inSteps: 6, outLo: 60, outSteps: 5,
			spot: true, rates: []rate{ // nanos: products run past 12 decimals
				{input: 118_757_250, output: 240_012_505}, {input: 97_412_375, output: 201_250_005}}},
		{name: "llama-4-maverick", kind: "text", vendor: "meta", weight: 20, inLo: 100, inSteps: 6, outLo: 40, outSteps: 5,
			ext: extImage, rates: flat(27000, 85000, 0)},
		{name: "llama-3.1-8b-free", kind: "text", vendor: "meta", weight: 25, inLo: 50, inSteps: 5, outLo: 20, outSteps: 4,
			rates: flat(0, 0, 0)},
		{name: "deepseek-v3.1", kind: "text", vendor: "deepseek", weight: 45, inLo: 150, inSteps: 7, outLo: 50, outSteps: 5,
			caches: true, rates: then(flat(27000, 1_10000, 7000), sep2025, 56000, 1_68000, 7000)},
		{name: "deepseek-r1", kind: "text", vendor: "deepseek", weight: 20, inLo: 150, inSteps: 6, outLo: 200, outSteps: 5,
			caches: true, rates: flat(55000, 2_19000, 14000)},
		{name: "qwen3-235b-a22b", kind: "text", vendor: "alibaba", weight: 25, inLo: 120, inSteps: 6, outLo: 60, outSteps: 5,
			rates: then(flat(20000, 60000, 0), mar2026, 18000, 54000, 0)},
		{name: "qwen3-32b", kind: "text", vendor: "alibaba", weight: 20, inLo: 100, inSteps: 6, outLo: 40, outSteps: 5,
			rates: flat(10000, 30000, 0)},
		{name: "qwen2.5-vl-72b", kind: "text", vendor: "alibaba", weight: 10, inLo: 80, inSteps: 5, outLo: 30, outSteps: 4,
			ext: extImage, rates: flat(60000, 60000, 0)},
		{name: "mistral-large", kind: "text", vendor: "mistral", weight: 15, inLo: 150, inSteps: 6, outLo: 40, outSteps: 5,
			rates: flat(2_00000, 6_00000, 0)},
		{name: "mistral-small", kind: "text", vendor: "mistral", weight: 20, inLo: 100, inSteps: 6, outLo: 30, outSteps: 5,
			rates: flat(10000, 30000, 0)},
		{name: "codestral", kind: "text", vendor: "mistral", weight: 20, inLo: 300, inSteps: 5, outLo: 20, outSteps: 4,
			rates: flat(30000, 90000, 0)},
		{name: "text-embedding-3-small", kind: "others", vendor: "openai", weight: 60, inLo: 1, inSteps: 11,
			rates: flat(2000, 0, 0)},
		{name: "text-embedding-3-large", kind: "others", vendor: "openai", weight: 20, inLo: 8, inSteps: 9,
			rates: flat(13000, 0, 0)},
		{name: "bge-m3", kind: "others", vendor: "baai", weight: 40, inLo: 1, inSteps: 9, rates: flat(1290, 0, 0)},
		{name: "bge-reranker-v2", kind: "others", vendor: "baai", weight: 15, inLo: 100, inSteps: 6, rates: flat(900, 0, 0)},
		{name: "gpt-image-1", kind: "image", vendor: "openai", weight: 8, inLo: 20, inSteps: 4, outLo: 1056, outSteps: 2,
			ext: extImage, rates: flat(5_00000, 40_00000, 0)},
		{name: "gpt-4o-transcribe", kind: "audio", vendor: "openai", weight: 10, inLo: 10, inSteps: 3, outLo: 60, outSteps: 5,
			ext: extAudio, rates: flat(2_50000, 10_00000, 0)},
		{name: "gpt-4o-mini-tts", kind: "audio", vendor: "openai", weight: 6, inLo: 30, inSteps: 5, outLo: 300, outSteps: 4,
			rates: flat(60000, 12_00000, 0)},
	}
}

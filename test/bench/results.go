package main

// result is what is known of a measure.
type result struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit,omitempty"`
	// Values are by column.
	Values map[string]value `json:"values"`
	// RatioToRunc is the median of runsc_auto over that of runc.
	RatioToRunc *float64 `json:"ratio_to_runc,omitempty"`
	Verdict     *verdict `json:"verdict,omitempty"`
}

// value is what was measured of one column.
type value struct {
	Median  float64 `json:"median"`
	P25     float64 `json:"p25"`
	P75     float64 `json:"p75"`
	Samples int     `json:"samples"`
}

// verdict holds a bound and whether it is met.
type verdict struct {
	// Of is what the bound is for: the value of runsc_auto, or its ratio to another column.
	Of string `json:"of"`
	// Value is missing if the other column is not above zero, as the time beyond a bare
	// command may be in the noise.
	Value    *float64 `json:"value,omitempty"`
	Relation string   `json:"relation"`
	Bound    float64  `json:"bound"`
	Met      bool     `json:"met"`
}

// results judges the samples. A measure without samples has no row.
func results(s *samples) []result {
	var list []result
	for _, m := range measures() {
		of := s.values[m.name]
		if len(of) == 0 {
			continue
		}
		r := result{Name: m.name, Title: m.title, Unit: m.unit, Values: map[string]value{}}
		for column, values := range of {
			r.Values[column] = value{
				Median: median(values), P25: quantile(values, 0.25), P75: quantile(values, 0.75), Samples: len(values),
			}
		}
		r.RatioToRunc = r.ratio(runc)
		if m.bound != nil {
			r.Verdict = r.judge(*m.bound)
		}
		list = append(list, r)
	}
	return list
}

// ratio returns the median of auto over that of another column, or nil if there is no
// such thing.
func (r result) ratio(to string) *float64 {
	mine, ok := r.Values[auto]
	other, there := r.Values[to]
	if !ok || !there || other.Median <= 0 {
		return nil
	}
	ratio := mine.Median / other.Median
	return &ratio
}

// judge returns nil if what the bound is about was not measured.
func (r result) judge(b bound) *verdict {
	mine, ok := r.Values[auto]
	if !ok {
		return nil
	}
	v := &verdict{Of: auto, Value: &mine.Median, Relation: b.relation(), Bound: b.limit}
	limit := b.limit
	if b.times != "" {
		base, ok := r.Values[b.times]
		if !ok {
			return nil
		}
		limit *= base.Median
		v.Of, v.Value = auto+"/"+b.times, r.ratio(b.times)
	}
	v.Met = mine.Median <= limit
	if b.least {
		v.Met = mine.Median >= limit
	}
	return v
}

package main

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// The places of the chart, in pixels.
const (
	chartWidth = 900
	barLeft    = 330
	barWidth   = 400
	barHeight  = 14
	lineHeight = 26
	chartTop   = 86
	// chartMax is the ratio at the end of the scale; longer bars are cut off there.
	chartMax = 2.0
)

// chartStyle has colours for light and for dark backgrounds. It has no variables, which
// not every viewer knows.
const chartStyle = `
text { font: 13px sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: bold }
.faint { font-size: 12px; fill: #59636e }
.back { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.runc { stroke: #59636e; stroke-dasharray: 4 3 }
.mark { stroke: #1f2328; stroke-width: 3 }
.met { fill: #2a78d6 }
.missed { fill: #d1242f }
.plain { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .faint { fill: #9198a1 }
  .back { fill: #0d1117 }
  .grid { stroke: #3d444d }
  .runc { stroke: #9198a1 }
  .mark { stroke: #e6edf3 }
  .met { fill: #4493f8 }
  .missed { fill: #f85149 }
  .plain { fill: #6e7681 }
}
`

// bar is a line of the chart.
type bar struct {
	title, text, class string
	ratio              float64
	bound              *float64
}

// chart is the report as SVG: horizontal bars of this shim's ratio to runc's, and of
// the values whose bound has nothing to do with runc, to that bound.
func (r report) chart() string {
	toRunc, toBound := r.bars()
	var out strings.Builder
	y := chartTop
	if len(toRunc) > 0 {
		draw(&out, &y, toRunc, "runc = 1")
	}
	if len(toBound) > 0 {
		y += 44
		fmt.Fprintf(&out, `<text x="16" y="%d" class="title">Other bounds</text>`+"\n", y-16)
		fmt.Fprintf(&out, `<text x="%d" y="%d" class="faint">value / bound (for the throughput: bound / value)</text>`+"\n", barLeft, y-16)
		y += 10
		draw(&out, &y, toBound, "")
	}
	height := y + 34
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>%s</title>
<style>%s</style>
<rect class="back" width="%[1]d" height="%[2]d"/>
<text x="16" y="28" class="title">containerd-shim-runsc-v1 beside runc's shim: shorter is better</text>
<text x="16" y="48" class="faint">Ratios of medians to runc's shim in the same run; the upright mark is the bound. Red: missed. Grey: no bound.</text>
`, chartWidth, height, "Benchmarks of containerd-shim-runsc-v1", chartStyle)
	foot := fmt.Sprintf(`<text x="16" y="%d" class="faint">%s</text>`+"\n</svg>\n", height-12, html.EscapeString(fmt.Sprintf(
		"%s, Linux %s, %d cores, %d rounds; runsc %s, runc %s, containerd %s",
		r.about.Date.Format(time.DateOnly), r.about.Kernel, r.about.Cores, r.about.Rounds,
		r.about.Runsc, r.about.Runc, r.about.Containerd)))
	return head + out.String() + foot
}

// bars returns the lines of both parts of the chart.
func (r report) bars() (toRunc, toBound []bar) {
	for _, res := range r.results {
		b := bar{title: res.Title, class: "plain"}
		v := res.Verdict
		if v != nil {
			b.class = "missed"
			if v.Met {
				b.class = "met"
			}
		}
		unit := strings.TrimSpace(" " + res.Unit)
		switch {
		case v != nil && v.Of != auto+"/"+runc:
			if v.Value == nil || *v.Value < 0 {
				continue
			}
			b.ratio = *v.Value / v.Bound
			if v.Relation == atLeastRelation {
				b.ratio = 1 / b.ratio
			}
			one := 1.0
			b.bound = &one
			b.text = number(*v.Value) + " " + unit
			if v.Of != auto {
				b.text = "x " + number(*v.Value)
			}
			b.text += fmt.Sprintf(" (%s %s)", v.Relation, number(v.Bound))
			toBound = append(toBound, b)
		case res.RatioToRunc != nil:
			b.ratio = *res.RatioToRunc
			b.text = fmt.Sprintf("x %s   %s / %s %s", number(b.ratio),
				number(res.Values[auto].Median), number(res.Values[runc].Median), unit)
			if v != nil {
				b.bound = &v.Bound
			}
			toRunc = append(toRunc, b)
		}
	}
	return toRunc, toBound
}

// draw draws bars from y on downwards and moves y below them.
func draw(out *strings.Builder, y *int, bars []bar, unity string) {
	at := func(ratio float64) float64 {
		return barLeft + barWidth*max(0, min(ratio, chartMax))/chartMax
	}
	bottom := *y + len(bars)*lineHeight
	for _, tick := range []float64{0, 0.5, 1, 1.5, 2} {
		class := "grid"
		if tick == 1 {
			class = "runc"
		}
		fmt.Fprintf(out, `<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n",
			class, at(tick), at(tick), *y-4, bottom)
		label := number(tick)
		if tick == 1 && unity != "" {
			label = unity
		}
		fmt.Fprintf(out, `<text class="faint" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n", at(tick), *y-8, label)
	}
	for _, b := range bars {
		middle := *y + lineHeight/2
		fmt.Fprintf(out, `<text text-anchor="end" x="%d" y="%d">%s</text>`+"\n", barLeft-10, middle+5, html.EscapeString(b.title))
		fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n",
			b.class, barLeft, middle-barHeight/2, max(1, at(b.ratio)-barLeft), barHeight)
		if b.bound != nil {
			fmt.Fprintf(out, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n",
				at(*b.bound), at(*b.bound), middle-barHeight/2-3, middle+barHeight/2+3)
		}
		fmt.Fprintf(out, `<text class="faint" x="%d" y="%d">%s</text>`+"\n", barLeft+barWidth+12, middle+4, html.EscapeString(b.text))
		*y += lineHeight
	}
}

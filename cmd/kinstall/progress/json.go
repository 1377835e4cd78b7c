package progress

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/kinstall/kinstall/plan/resource"
	"github.com/kinstall/kinstall/provision"
)

// JSON writes one object a line for each event, as docs/plan-json.md describes.
type JSON struct {
	encoder *json.Encoder
	now     func() time.Time
	begin   time.Time
}

// StepEvent is what is written of an event.
type StepEvent struct {
	Type    string              `json:"type"` // "step"
	Elapsed float64             `json:"elapsed"`
	Event   provision.EventKind `json:"event"`
	Host    string              `json:"host"`
	ID      resource.ID         `json:"id"`
	Action  resource.Action     `json:"action"`
	Text    string              `json:"text,omitempty"`
	Error   string              `json:"error,omitempty"`
	Took    float64             `json:"took,omitempty"`
	Done    int                 `json:"done"`
	Total   int                 `json:"total"`
}

// notice is what is written of a line for the user.
type notice struct {
	Type    string  `json:"type"` // "notice"
	Elapsed float64 `json:"elapsed"`
	Text    string  `json:"text"`
}

// NewJSON starts the clock.
func NewJSON(w io.Writer, now func() time.Time) *JSON {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &JSON{encoder: encoder, now: now, begin: now()}
}

// Event implements Display.
func (j *JSON) Event(e provision.Event) {
	line := StepEvent{
		Type: "step", Elapsed: j.elapsed(), Event: e.Kind, Host: e.Item.Step.Host, ID: e.Item.Step.Resource.ID(),
		Action: e.Item.Change.Action, Text: e.Text, Took: Seconds(e.Elapsed), Done: e.Done, Total: e.Total,
	}
	if e.Err != nil {
		line.Error = e.Err.Error()
	}
	_ = j.encoder.Encode(line) // a reader that went away is no reason to stop half-way
}

// Notice implements Display.
func (j *JSON) Notice(s string) {
	_ = j.encoder.Encode(notice{Type: "notice", Elapsed: j.elapsed(), Text: s})
}

// Tick implements Display.
func (j *JSON) Tick() {}

// Close implements Display.
func (j *JSON) Close() {}

func (j *JSON) elapsed() float64 { return Seconds(j.now().Sub(j.begin)) }

// Seconds is a duration in seconds, to the millisecond.
func Seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

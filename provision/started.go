package provision

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/kinstall/kinstall/plan"
	"github.com/kinstall/kinstall/plan/fault"
	"github.com/kinstall/kinstall/plan/resource"
)

// startedItems are the processes that a run has started outside turns, by
// host: on a first installation all of them.
type startedItems struct {
	mu     sync.Mutex
	byHost map[string][]plan.Item
}

func (s *startedItems) add(item plan.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byHost == nil {
		s.byHost = map[string][]plan.Item{}
	}
	s.byHost[item.Step.Host] = append(s.byHost[item.Step.Host], item)
}

// seeStarted looks, when all else is done, whether what was started works and
// goes on working, and records that. Where something failed or the run was
// interrupted, nothing is waited for: the next run looks.
func (r *run) seeStarted() {
	if r.firstErr != nil || r.ctx.Err() != nil {
		return
	}
	var mu sync.Mutex
	var group fault.Group
	group.SetLimit(r.executor.Fleet.options.Parallelism)
	for _, host := range slices.Sorted(maps.Keys(r.started.byHost)) {
		group.Go(func() error {
			items := r.started.byHost[host]
			failed, err := r.seeHost(items)
			if err == nil {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			r.fail(failed, failedStep(failed, err))
			return nil
		})
	}
	_ = group.Wait()
}

// seeHost sees all that was started on a host; if something does not work, it
// returns which item that is.
func (r *run) seeHost(items []plan.Item) (failed plan.Item, err error) {
	var all plan.Rollout
	for _, item := range items {
		for _, check := range item.Step.Rollout.After {
			if !slices.Contains(all.After, check) {
				all.After = append(all.After, check)
			}
		}
	}
	now, err := r.executor.checks.after(r.work, all, anyProcesses, func(string) {})
	if err != nil {
		var process *ProcessError
		if errors.As(err, &process) {
			for _, item := range items {
				if item.Step.Resource.ID() == resource.NewID(item.Step.Resource.ID().Kind(), process.Process.Name()) || isPodOf(item, process.Process) {
					return item, err
				}
			}
		}
		return items[len(items)-1], err
	}
	m := r.executor.Fleet.machines[items[0].Step.Host]
	for _, item := range items {
		id := item.Step.Resource.ID()
		if record, known := m.state.record(id); known {
			record.Unproven = false
			record.Started = now.started(*item.Step)
			m.state.put(id, record)
		}
	}
	return plan.Item{}, nil
}

func isPodOf(item plan.Item, process resource.Process) bool {
	pod, ok := item.Step.Resource.(resource.StaticPod)
	return ok && pod.Name == process.Pod
}

// fail turns what went well before into a failure.
func (r *run) fail(item plan.Item, err error) {
	if r.firstErr == nil {
		r.firstErr = err
	}
	for i := range r.report.Results {
		if r.report.Results[i].Item.Step.ID() == item.Step.ID() {
			r.report.Results[i].Kind, r.report.Results[i].Err = Failed, err
		}
	}
}

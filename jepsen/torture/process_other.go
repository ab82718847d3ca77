//go:build !linux

package torture

import (
	"errors"
	"io"
	"time"
)

// errLinux says where kills work: elsewhere nothing ends a node's process with the one that started it.
var errLinux = errors.New("torture: kills need Linux; power cuts are simulated everywhere")

type process struct {
	ready chan map[string]string
	ended chan struct{}
	began time.Time
	err   error
}

func spawn(string, []string, io.Writer) (*process, error) { return nil, errLinux }

func (p *process) kill() error                    { return errLinux }
func (p *process) stop() error                    { return errLinux }
func (p *process) freeze() error                  { return errLinux }
func (p *process) alive() bool                    { return false }
func (p *process) writing(string) map[string]bool { return nil }

type watcher struct{ events chan fileEvent }

func watch(...string) (*watcher, error) { return nil, errLinux }

func (w *watcher) close() {}

package admin

import (
	"net/http"
	"strconv"
	"time"
)

// Faults makes a node ill on purpose, so that tests see how it and the others cope. Its methods are
// called on any goroutine and do not block.
type Faults interface {
	// SetClock puts the node's wall clock so far ahead of the machine's; negative: back.
	SetClock(offset time.Duration)
	// Clock is what that clock shows.
	Clock() time.Time
	// SetRoom lets the store write so many bytes more before its disk is full; -1: no bound.
	SetRoom(bytes int64)
}

// MaxClockOffset bounds how far SetClock is asked to put a clock, either way.
const MaxClockOffset = 24 * time.Hour

func (s *Server) setClock(w http.ResponseWriter, r *http.Request) {
	offset, err := time.ParseDuration(r.FormValue("offset"))
	if err != nil || offset.Abs() > MaxClockOffset {
		http.Error(w, "offset="+strconv.Quote(r.FormValue("offset"))+": want a duration such as 250ms or -3s, at most "+MaxClockOffset.String()+" either way", http.StatusBadRequest)
		return
	}
	s.cfg.Logf("test faults: the clock is %v ahead of the machine's", offset)
	s.cfg.Faults.SetClock(offset)
	text(w, "clock "+s.cfg.Faults.Clock().UTC().Format(time.RFC3339Nano)+"\n") // whoever asked sees that it moved
}

func (s *Server) setRoom(w http.ResponseWriter, r *http.Request) {
	room, err := strconv.ParseInt(r.FormValue("room"), 10, 64)
	if err != nil || room < -1 {
		http.Error(w, "room="+strconv.Quote(r.FormValue("room"))+": want a number of bytes, or -1 for no bound", http.StatusBadRequest)
		return
	}
	s.cfg.Logf("test faults: the disk has room for %d bytes more (-1: no bound)", room)
	s.cfg.Faults.SetRoom(room)
	text(w, "room for "+strconv.FormatInt(room, 10)+" bytes\n")
}

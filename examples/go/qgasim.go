// Package qgasim serves simulated QEMU guest agents to tests, and controls them while they run.
//
// Copy it into your project. It needs the program qgasim on the PATH, or its path in $QGASIM, and no
// other package. What an argument may say is in docs/control.md: faults, events and patches are those
// of scenarios.
package qgasim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// M is what is sent as JSON.
type M = map[string]any

// Guest is a guest that is served by a process of its own until its test ends.
//
// Each method fails the test if the control API refuses what it is asked.
type Guest struct {
	// Path is that of the unix socket where clients of its agent connect.
	Path string
	// Name is what the guest is called in the API.
	Name string

	t       testing.TB
	client  http.Client
	process *exec.Cmd
}

// Fault is a fault of the guest, and what it has done.
type Fault struct {
	ID    int `json:"id"`
	Seen  int `json:"seen"`
	Fired int `json:"fired"`
}

// Finding is something that a client should not have done.
type Finding struct {
	Name        string   `json:"name"`
	Explanation string   `json:"explanation"`
	Remedy      string   `json:"remedy"`
	Found       []string `json:"found"`
}

// Error is why the API has refused a request (RFC 9457).
type Error struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s", e.Title, e.Detail)
}

// Start serves a guest until the test ends; options are those of the command line, as in
// "--scenario=ubuntu-24.04". If the test fails, what the guest was asked is logged.
func Start(t testing.TB, options ...string) *Guest {
	t.Helper()
	// Not t.TempDir: with the name of a long test, its path is too long for a unix socket.
	directory, err := os.MkdirTemp("", "qgasim-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(directory) })
	control := filepath.Join(directory, "control")
	reading, writing, err := os.Pipe()
	check(t, err)
	defer reading.Close()

	program := os.Getenv("QGASIM")
	if program == "" {
		program = "qgasim"
	}
	common := []string{"--quiet", "--exit-with-parent", "--ready-fd=3", "--control=unix:" + control}
	process := exec.Command(program, append(common, options...)...)
	process.ExtraFiles = []*os.File{writing} // file descriptor 3
	process.Stderr = os.Stderr
	err = process.Start()
	writing.Close()
	check(t, err)

	guest := &Guest{t: t, process: process}
	guest.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", control)
		},
	}
	t.Cleanup(guest.end)
	var ready struct{ Path, Name string }
	if err := json.NewDecoder(reading).Decode(&ready); err != nil {
		t.Fatal("qgasim did not start: ", err)
	}
	guest.Path, guest.Name = ready.Path, ready.Name
	return guest
}

func (g *Guest) end() {
	if g.t.Failed() {
		if text, err := g.ask("GET", g.path("transcript"), nil); err == nil {
			g.t.Logf("what guest %q was asked:\n%s", g.Name, text)
		}
	}
	g.process.Process.Signal(os.Interrupt)
	if err := g.process.Wait(); err != nil {
		g.t.Errorf("qgasim: %v", err)
	}
	g.client.CloseIdleConnections()
}

// Inject lets something go wrong from now on: a fault, as in a scenario.
func (g *Guest) Inject(fault M) Fault {
	g.t.Helper()
	var made Fault
	g.must(g.Do("POST", g.path("faults"), fault, &made))
	return made
}

// Faults lists the faults, those of the scenario first.
func (g *Guest) Faults() []Fault {
	g.t.Helper()
	var found []Fault
	g.must(g.Do("GET", g.path("faults"), nil, &found))
	return found
}

// Clear removes all faults, those of the scenario included.
func (g *Guest) Clear() {
	g.t.Helper()
	g.must(g.Do("DELETE", g.path("faults"), nil, nil))
}

// Event lets an event happen, as in a scenario's timeline: M{"do": "reboot"}.
func (g *Guest) Event(event M) {
	g.t.Helper()
	g.must(g.Do("POST", g.path("events"), event, nil))
}

// Advance lets the guest's time pass at once: "90s", "1h".
func (g *Guest) Advance(by string) {
	g.t.Helper()
	g.must(g.Do("POST", g.path("clock/advance"), M{"by": by}, nil))
}

// Wait waits until a state is reached or a command was asked for: M{"state": "up", "within": "10s"}.
// What was asked before counts, too. The test fails when the time is over.
func (g *Guest) Wait(what M) {
	g.t.Helper()
	var waited struct {
		Reached bool
		State   string
	}
	g.must(g.Do("POST", g.path("wait"), what, &waited))
	if !waited.Reached {
		g.t.Fatalf("waited in vain for %v; the guest is %s", what, waited.State)
	}
}

// Verify fails the test, and says what came near, if a command was not asked for as expected:
// M{"command": "guest-fsfreeze-thaw", "after": "guest-fsfreeze-freeze", "times": 1}.
func (g *Guest) Verify(expected M) {
	g.t.Helper()
	g.judge("verify", expected)
}

// Never fails the test if a command was asked for.
func (g *Guest) Never(command string) {
	g.t.Helper()
	g.judge("never", M{"command": command})
}

func (g *Guest) judge(way string, expected M) {
	g.t.Helper()
	var verdict struct {
		Verified bool
		Message  string
	}
	g.must(g.Do("POST", g.path(way), expected, &verdict))
	if !verdict.Verified {
		g.t.Error(verdict.Message)
	}
}

// Findings returns what the client should not have done. Ask when it is done.
func (g *Guest) Findings() []Finding {
	g.t.Helper()
	var found []Finding
	g.must(g.Do("GET", g.path("findings"), nil, &found))
	return found
}

// Do asks the control API for anything else; path is what stands behind "/v1". A body is sent as
// JSON, unless it is nil, and the answer read into result, unless that is nil. What the API refuses
// is an *Error.
func (g *Guest) Do(method, path string, body, result any) error {
	data, err := g.ask(method, path, body)
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(data, result)
}

func (g *Guest) ask(method, path string, body any) ([]byte, error) {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(data)
	}
	request, err := http.NewRequest(method, "http://localhost/v1"+path, sent)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := g.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		problem := &Error{Status: response.StatusCode, Title: response.Status}
		if err := json.Unmarshal(data, problem); err != nil {
			return nil, errors.New(strings.TrimSpace(string(data)))
		}
		return nil, problem
	}
	return data, nil
}

func (g *Guest) path(rest string) string {
	return "/guests/" + url.PathEscape(g.Name) + "/" + rest
}

func (g *Guest) must(err error) {
	g.t.Helper()
	check(g.t, err)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

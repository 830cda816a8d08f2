package qgasim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// call is a client: yours, in its place.
func call(t *testing.T, guest *Guest, command string) error {
	t.Helper()
	client, err := net.Dial("unix", guest.Path)
	check(t, err)
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(client, "{\"execute\": %q}\n", command)
	line, err := bufio.NewReader(client).ReadString('\n')
	check(t, err)
	var reply struct{ Error *struct{ Desc string } }
	check(t, json.Unmarshal([]byte(line), &reply))
	if reply.Error != nil {
		return errors.New(reply.Error.Desc)
	}
	return nil
}

func TestTheSecondFreezeFails(t *testing.T) {
	guest := Start(t)
	guest.Inject(M{
		"kind": "error", "on": "guest-fsfreeze-freeze", "desc": "Input/output error",
		"every": 2, "times": 1,
	})
	check(t, call(t, guest, "guest-fsfreeze-freeze"))
	check(t, call(t, guest, "guest-fsfreeze-thaw"))
	if err := call(t, guest, "guest-fsfreeze-freeze"); err == nil || err.Error() != "Input/output error" {
		t.Fatal(err)
	}
	guest.Advance("1h")
	guest.Event(M{"do": "reboot"})
	guest.Wait(M{"state": "up", "within": "10s"})
	guest.Verify(M{"command": "guest-fsfreeze-freeze", "times": 2})
	guest.Verify(M{
		"command": "guest-fsfreeze-thaw", "after": "guest-fsfreeze-freeze", "within": "10s", "times": 1,
	})
	guest.Never("guest-exec")
	if found := guest.Findings(); len(found) != 0 {
		t.Error(found)
	}
}

func TestAGuestThatIsLeftFrozenIsFound(t *testing.T) {
	guest := Start(t, "--scenario=ubuntu-24.04")
	check(t, call(t, guest, "guest-fsfreeze-freeze"))
	found := guest.Findings()
	if len(found) == 0 || found[0].Name != "frozen-never-thawed" {
		t.Error(found)
	}
}

func TestFaultsAreListedAndCleared(t *testing.T) {
	guest := Start(t)
	made := guest.Inject(M{"kind": "error", "on": "guest-ping", "desc": "not now"})
	if err := call(t, guest, "guest-ping"); err == nil {
		t.Error("no fault")
	}
	if found := guest.Faults(); len(found) != 1 || found[0].ID != made.ID || found[0].Fired != 1 {
		t.Error(found)
	}
	guest.Clear()
	check(t, call(t, guest, "guest-ping"))
}

func TestWhatIsWrongIsTold(t *testing.T) {
	guest := Start(t)
	err := guest.Do("POST", "/guests/guest/events", M{"do": "rebot"}, nil)
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 422 || !strings.Contains(refused.Detail, "'reboot'?") {
		t.Error(err)
	}
	var clock struct{ Uptime float64 }
	check(t, guest.Do("GET", "/guests/guest/clock", nil, &clock))
	if clock.Uptime <= 0 {
		t.Error(clock)
	}
}

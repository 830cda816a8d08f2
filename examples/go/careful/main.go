// Careful checks a guest's health and takes a backup of it, as examples/careful_client.py does:
//
//	qgasim drill --all --expect @examples/drill/careful.txt -- ./careful {socket}
//
// The status is 0 if all was done, and 1 with a line on what was not.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// errSilence: no answer came in time, or none that can be read; what was asked for may have been done.
var errSilence = errors.New("no answer")

// agent synchronises first, and after every answer that it did not get.
type agent struct {
	path    string
	timeout time.Duration
	conn    net.Conn
	reader  *bufio.Reader
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

func (a *agent) close() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// connect connects and synchronises; it tries again with a new connection, later each time.
func (a *agent) connect() error {
	var err error
	for try := 1; try <= 3; try++ {
		if err = a.open(""); err == nil {
			return nil
		}
		a.close()
		time.Sleep(time.Duration(try) * 100 * time.Millisecond)
	}
	return err
}

// open connects and synchronises; then is sent at once, so that the agent gets it even if no answer comes.
func (a *agent) open(then string) error {
	conn, err := net.DialTimeout("unix", a.path, a.timeout)
	if err != nil {
		return fmt.Errorf("%w: %v", errSilence, err)
	}
	a.conn, a.reader = conn, bufio.NewReader(conn)
	// 2^53 and below: a number that every agent takes and gives as it is.
	number := rand.Int63n(1 << 53)
	request := fmt.Sprintf("\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%d}}\n", number)
	if then != "" {
		request += fmt.Sprintf("{\"execute\":%q}\n", then)
	}
	if _, err = conn.Write([]byte(request)); err != nil {
		return fmt.Errorf("%w: %v", errSilence, err)
	}
	until := time.Now().Add(a.timeout)
	for {
		line, err := a.readLine(until)
		if err != nil {
			return err
		}
		// What comes before 0xFF and our own number answers an earlier request.
		var got struct{ Return *int64 }
		line = line[bytes.LastIndexByte(line, 0xff)+1:]
		if json.Unmarshal(line, &got) == nil && got.Return != nil && *got.Return == number {
			return nil
		}
	}
}

func (a *agent) readLine(until time.Time) ([]byte, error) {
	a.conn.SetReadDeadline(until)
	line, err := a.reader.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errSilence, err)
	}
	return line, nil
}

// call returns what a command returns.
func (a *agent) call(command string, timeout time.Duration) (json.RawMessage, error) {
	if a.conn == nil {
		if err := a.connect(); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(a.conn, "{\"execute\":%q}\n", command); err != nil {
		a.close()
		return nil, fmt.Errorf("%s: %w: %v", command, errSilence, err)
	}
	line, err := a.readLine(time.Now().Add(timeout))
	if err != nil {
		// The reply may still come: the next command needs a new connection, and synchronises.
		a.close()
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	var got reply
	if json.Unmarshal(line, &got) == nil && got.Return != nil {
		return got.Return, nil
	}
	if got.Error != nil {
		return nil, fmt.Errorf("%s: %s", command, bytes.TrimSpace(line))
	}
	a.close()
	return nil, fmt.Errorf("%s: %w: %s", command, errSilence, bytes.TrimSpace(line))
}

// query returns what a command returns that changes nothing: it can be asked for again.
func (a *agent) query(command string) (value json.RawMessage, err error) {
	for try := 0; try < 3; try++ {
		if value, err = a.call(command, a.timeout); !errors.Is(err, errSilence) {
			break
		}
	}
	return value, err
}

// enabled returns the commands that this agent has and does not refuse.
func (a *agent) enabled() (map[string]bool, error) {
	value, err := a.query("guest-info")
	if err != nil {
		return nil, err
	}
	var info struct {
		Commands []struct {
			Name    string
			Enabled *bool
		} `json:"supported_commands"`
	}
	if err := json.Unmarshal(value, &info); err != nil {
		return nil, fmt.Errorf("guest-info: %v", err)
	}
	found := map[string]bool{}
	for _, each := range info.Commands {
		found[each.Name] = each.Enabled == nil || *each.Enabled
	}
	return found, nil
}

// addresses returns the addresses of all interfaces; an interface without any has no list of them.
func (a *agent) addresses() ([]string, error) {
	value, err := a.query("guest-network-get-interfaces")
	if err != nil {
		return nil, err
	}
	var nics []struct {
		Addresses []struct {
			Address string `json:"ip-address"`
		} `json:"ip-addresses"`
	}
	if err := json.Unmarshal(value, &nics); err != nil {
		return nil, fmt.Errorf("guest-network-get-interfaces: %v", err)
	}
	var found []string
	for _, nic := range nics {
		for _, each := range nic.Addresses {
			address, _, _ := strings.Cut(each.Address, "%")
			found = append(found, address)
		}
	}
	return found, nil
}

func (a *agent) isFrozen() (bool, error) {
	value, err := a.query("guest-fsfreeze-status")
	return string(value) == `"frozen"`, err
}

// backup calls copy while file systems are frozen, and thaws whatever happens.
func (a *agent) backup(copy func() error) error {
	frozen, err := a.isFrozen()
	if err == nil && frozen {
		err = a.thaw() // what an earlier backup has left
	}
	if err != nil {
		return err
	}
	if _, err := a.call("guest-fsfreeze-freeze", 2*a.timeout); errors.Is(err, errSilence) {
		// It may have frozen all the same: an agent that is late thaws when it gets to it.
		if a.open("guest-fsfreeze-thaw") == nil {
			a.readLine(time.Now().Add(a.timeout))
		}
		a.close()
		return err
	} else if err != nil {
		fmt.Println("not frozen:", err)
		return copy()
	}
	copied := copy()
	if err := a.thaw(); err != nil {
		return err
	}
	return copied
}

// thaw thaws; an error counts only if file systems are frozen afterwards.
func (a *agent) thaw() error {
	_, err := a.call("guest-fsfreeze-thaw", 2*a.timeout)
	if err != nil && !errors.Is(err, errSilence) {
		if frozen, unknown := a.isFrozen(); unknown == nil && !frozen {
			return nil
		}
	}
	return err
}

func (a *agent) check() error {
	defer a.close()
	enabled, err := a.enabled()
	if err != nil {
		return err
	}
	if enabled["guest-network-get-interfaces"] {
		found, err := a.addresses()
		if errors.Is(err, errSilence) {
			return err
		}
		fmt.Println("addresses:", found, err)
	}
	if !enabled["guest-fsfreeze-freeze"] || !enabled["guest-fsfreeze-thaw"] || !enabled["guest-fsfreeze-status"] {
		fmt.Println("backup: not frozen")
		return nil
	}
	return a.backup(func() error { return nil })
}

func main() {
	a := &agent{path: os.Args[1], timeout: 2 * time.Second}
	if len(os.Args) > 2 {
		seconds, _ := strconv.ParseFloat(os.Args[2], 64)
		a.timeout = time.Duration(seconds * float64(time.Second))
	}
	if err := a.check(); err != nil {
		fmt.Fprintln(os.Stderr, "not done:", err)
		os.Exit(1)
	}
}

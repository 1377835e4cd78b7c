// Package ssh reaches the hosts: one verified connection a host, on which
// scripts run, files are uploaded, TCP connections are tunnelled and a lock is
// held.
//
// Contract.
//
//   - A host's key is verified before anything is sent to it, on every path: by
//     known_hosts, certificate authorities in it included, or by a pinned
//     fingerprint.
//     Bastions are verified in the same way. There is no way to switch it off.
//   - What is executed on a host has a constant argument vector. Scripts and
//     their payload travel on standard input, so that neither shows up in a
//     process list, an environment or a log.
//   - A result is a result only when the host said so: a session that ends
//     without an exit status is a *ConnError, never an exit code and never
//     success.
//   - Every blocking call takes a context and returns soon after it ends, with
//     an error that wraps the context's.
//   - Errors name the host first. Advice is separate: see Hint.
//     ConnError.Temporary says whether trying the same thing again can help.
//
// What callers owe: values enter a Script only through shell.Quote; secrets
// only through Stdin; a script that stores its standard input compares the size
// (see Command), because a lost connection looks like end of file to it; Close
// is called on every Client and on the Dialer.
package ssh

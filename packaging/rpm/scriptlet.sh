#!/bin/sh
# Runs `hostward scriptlet EVENT [NAME...]` for package scriptlets, file triggers and kernel-install(8).
# Nothing here can fail or hold up a transaction: not a missing or broken interpreter, not a hang in it.
# Installed as /usr/libexec/hostward/scriptlet; standard input is handed on (a file trigger's file names).
hostward=/usr/bin/hostward
[ -e "$hostward" ] || exit 0
# hostward itself is done within 5 s, or 15 s with a repair; the limit here is for an interpreter that hangs.
case ${HOSTWARD_SCRIPTLET_LIMIT_S:-} in '' | *[!0-9]*) limit=20 ;; *) limit=$((HOSTWARD_SCRIPTLET_LIMIT_S + 15)) ;; esac
if command -v timeout >/dev/null 2>&1; then
	timeout --foreground -k 1 "$limit" "$hostward" scriptlet "$@" 2>/dev/null
else
	"$hostward" scriptlet "$@" 2>/dev/null
fi
status=$?
# It always ends with 0: anything else means that it did not run.
[ "$status" -eq 0 ] ||
	echo "hostward: $hostward does not run (status $status), so kernel modules were not looked at" 2>/dev/null
exit 0

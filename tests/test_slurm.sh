#!/usr/bin/env bash
# test_slurm.sh - scripts/selfplay.sbatch under a real Slurm on this machine: a controller and a node
# on the loopback, in a scratch folder; one task is killed in the middle and requeued. Skipped where
# Slurm (Debian: slurmctld slurmd slurm-client munge) is not installed, or this is not root.
set -uo pipefail
root=${KVF_SOURCE_DIR:-$(cd "$(dirname "$0")/.." && pwd)}
export TRIGO=${KVF_BUILD_DIR:-$root/build}/trigo
PATH=$PATH:/usr/sbin
for program in munged slurmctld slurmd sbatch scontrol squeue; do
    command -v $program >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
done
((EUID == 0)) || { echo "skipped: slurmd starts its tasks as root only"; exit 77; }

tmp=$(mktemp -d)
daemons=()
stop() {
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        kill "${daemons[i]}" 2>/dev/null
        wait "${daemons[i]}" 2>/dev/null
    done
    rm -rf "$tmp"
}
trap stop EXIT
fail() {
    echo "FAILED: $*"
    tail -n 5 "$tmp"/*.log "$tmp"/*.err 2>/dev/null
    exit 1
}
# until COMMAND...: for at most a minute
until_true() {
    for ((i = 0; i < 600; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "waited a minute for: $*"
}

# ---- a cluster ------------------------------------------------------------------------------------
read -r ctld_port slurmd_port < <(python3 - <<'EOF'
import socket
s = [socket.socket() for _ in range(2)]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))
EOF
)
host=$(hostname -s)
mkdir -p "$tmp"/{state,spool}
chmod 755 "$tmp"
dd if=/dev/urandom of="$tmp/munge.key" bs=128 count=1 status=none
chmod 600 "$tmp/munge.key"
# A requeued task waits until its old credential has expired: two minutes, if one does not say less.
cat >"$tmp/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$tmp/munge.socket,cred_expire=5
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
StateSaveLocation=$tmp/state
SlurmdSpoolDir=$tmp/spool
SlurmctldPidFile=$tmp/slurmctld.pid
SlurmdPidFile=$tmp/slurmd.pid
SlurmctldLogFile=$tmp/slurmctld.log
SlurmdLogFile=$tmp/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
export SLURM_CONF=$tmp/slurm.conf
munged --foreground --force --key-file="$tmp/munge.key" --socket="$tmp/munge.socket" \
    --pid-file="$tmp/munged.pid" --log-file="$tmp/munged.log" --seed-file="$tmp/munge.seed" 2>"$tmp/munged.err" &
daemons+=($!)
until_true test -S "$tmp/munge.socket"
slurmctld -D 2>"$tmp/slurmctld.err" &
daemons+=($!)
until_true scontrol ping
slurmd -D 2>"$tmp/slurmd.err" &
daemons+=($!)
idle() { [[ $(sinfo -h -o %T) == idle ]]; }
until_true idle

# ---- self-play ------------------------------------------------------------------------------------
options=(--models uniform --games 48 --games-per-file 4 --sims 3000 --shape 5x5,3x3x3)
cd "$tmp"
job=$(sbatch --parsable --array=0-3 --cpus-per-task=1 "$root/scripts/selfplay.sbatch" "${options[@]}" --at-once 2 --out "$tmp/games") ||
    fail "sbatch"
# Kill a task's program when it has finished a game of its first four, but not all.
part_of() { pgrep -f "^$TRIGO selfplay .*--out $tmp/games .*--shard $1/4"; }
some_finished() { compgen -G "$tmp/games/00000000.*/*.json" && part_of 0; }
until_true some_finished
kill -9 "$(part_of 0)" || fail "no task to kill"
killed() { scontrol show job "${job}_0" | grep -q 'JobState=FAILED'; }
until_true killed
scontrol requeue "${job}_0" || fail "scontrol requeue"
# The node itself is told to stop another, as preemption does.
if part_of 1 >/dev/null; then scontrol requeue "${job}_1" || fail "scontrol requeue of a running task"; fi
over() { ! squeue -h -j "$job" | grep -q .; }
until_true over
for i in 0 1 2 3; do
    scontrol show job "${job}_$i" | grep -q 'JobState=COMPLETED' || fail "task $i: $(scontrol show job "${job}_$i")"
done
scontrol show job "${job}_0" | grep -q 'Restarts=1' || fail "task 0 was not started twice"
"$TRIGO" collect games || fail "collect"
"$TRIGO" selfplay "${options[@]}" --out alone 2>/dev/null || fail "one process"
diff -r alone games || fail "the array's games are not those of one process"
echo "all passed"

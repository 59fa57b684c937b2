#!/bin/sh
# netns.sh COMMAND...: three hosts on one machine, made for one command and removed after it.
#
#   Chromium 10.99.0.2 ---- 10.99.0.1 server 10.99.0.1 ---- 10.99.0.3 Firefox and COMMAND
#
# Nobody reaches anything else: not the two clients each other, not the machine's network. The clients have no address
# of the server's, so that a client's address seen anywhere is a leak. COMMAND finds the names of the other two hosts in
# SAAL_NETNS_SERVER and SAAL_NETNS_CHROMIUM.
set -eu
server="saal$$s"; chromium="saal$$c"; firefox="saal$$f"
rc=0
trap 'for n in "$server" "$chromium" "$firefox"; do ip netns del "$n" 2>/dev/null || true; done' EXIT
trap 'exit 130' INT TERM HUP
for n in "$server" "$chromium" "$firefox"; do
  ip netns add "$n"
  ip -n "$n" link set lo up
done
# link HOST ADDRESS DEVICE: one wire from the server to a client. Firefox gathers no candidate without a default route;
# the server forwards nothing that comes this way.
link() {
  ip link add "$3" netns "$server" type veth peer name eth0 netns "$1"
  ip -n "$server" addr add 10.99.0.1 peer "$2/32" dev "$3"
  ip -n "$1" addr add "$2" peer 10.99.0.1/32 dev eth0
  # Addresses that come later than the wire are a change of network, at which Chromium breaks off what it began.
  ip -n "$server" link set "$3" addrgenmode none
  ip -n "$1" link set eth0 addrgenmode none
  ip -n "$server" link set "$3" up
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via 10.99.0.1
}
link "$chromium" 10.99.0.2 left
link "$firefox" 10.99.0.3 right
ip netns exec "$firefox" env SAAL_NETNS_SERVER="$server" SAAL_NETNS_CHROMIUM="$chromium" "$@" || rc=$?
exit $rc

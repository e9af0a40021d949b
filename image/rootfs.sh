#!/usr/bin/env bash
# Lays out the file system of Armory's image in a new folder: `rootfs.sh BINARY FOLDER`.
#
# It is all that the image contains: the command, the shared libraries that it names, the authorities that TLS trusts, and
# the user that it runs as. There is no shell and no package manager. The Containerfile and `cargo xtask image` both call this.
set -euo pipefail
binary=$1 root=$2
umask 022

mkdir -p "$root"/{etc/ssl/certs,usr/local/bin,tmp}
chmod 1777 "$root/tmp"
install -m 755 "$binary" "$root/usr/local/bin/armory"

# Lines of ldd name a library as "name => path (address)", and the loader as "path (address)".
ldd "$binary" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
  install -D -m 755 "$(readlink -f "$library")" "$root$library"
done

install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' 'armory:x:65532:65532:Armory:/tmp:/sbin/nologin' > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'armory:x:65532:' > "$root/etc/group"
# Without it, names are looked up in DNS first, and a pod's hostAliases, which are in /etc/hosts, are not seen.
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

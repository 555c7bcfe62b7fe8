#!/usr/bin/env bash
# Make a kernel that boots in QEMU with soft-RoCE: Debian's own, its modules in a first file system.
# Needs no root. Where it cannot be had the reason is in FOLDER/why-not, and the status is 0 all the same.
#
#   kernel.sh FOLDER      makes FOLDER/vmlinuz and FOLDER/initramfs.gz
set -euo pipefail
folder=$1
[ -s "$folder/vmlinuz" ] && [ -s "$folder/initramfs.gz" ] && exit 0
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

refuse() {
  echo "$1" >"$folder/why-not"
  echo "no guests for the tests: $1" >&2
  exit 0
}

[ "$(uname -sm)" = "Linux x86_64" ] || refuse "guests are made for Linux on x86_64 alone, not for $(uname -sm)"
PATH=$PATH:/usr/sbin:/sbin
for program in apt-get dpkg busybox cpio depmod modprobe; do
  command -v "$program" >/dev/null || refuse "$program is not installed"
done
package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
[ -n "$package" ] || refuse "no linux-image-amd64 in the distribution's packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As root apt downloads as a user of its own, who has to be able to write here.
chmod 755 "$work" && mkdir -m 777 "$work/deb"
(cd "$work/deb" && apt-get download -qq "$package" >/dev/null 2>"$work/error") || refuse "$(tail -n 1 "$work/error")"
dpkg-deb --fsys-tarfile "$work"/deb/*.deb | tar -x -C "$work" ./boot ./lib
version=$(basename "$work"/boot/vmlinuz-*)
version=${version#vmlinuz-}
depmod -b "$work" "$version"

root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,host,own,root,modules}
cp "$(command -v busybox)" "$root/bin/"
# crc32_generic is loaded by name when rdma_rxe starts, so that nothing says that it is needed.
for module in virtio_pci virtio_net virtio_console 9p 9pnet_virtio overlay crc32_generic ib_uverbs rdma_rxe; do
  modprobe -d "$work" -S "$version" --show-depends "$module" | awk '/^insmod/ {print $2}'
done | awk '!seen[$0]++' | while read -r file; do
  name=$(basename "$file")
  case $name in
    *.xz) name=${name%.xz} && xz -dc "$file" >"$root/modules/$name" ;;
    *.zst) name=${name%.zst} && zstd -qdc "$file" >"$root/modules/$name" ;;
    *) cp "$file" "$root/modules/$name" ;;
  esac
  echo "$name" >>"$root/modules/order"
done

# The host's file system is seen read-only, and what the guest writes over it is lost with the guest. Then the
# first line from the port is run; it ends when the port is closed.
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host
mount -t tmpfs own /own
mkdir /own/upper /own/work
mount -t overlay -o lowerdir=/host,upperdir=/own/upper,workdir=/own/work root /root
for folder in proc sys dev; do mount --move "/$folder" "/root/$folder"; done
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs run /root/run
# Its name counts all devices of virtio, and it is there a moment later than they.
while ! PORT=$(cd /root && ls dev/vport*); do sleep 0.1; done 2>/dev/null
export PORT="/$PORT"
read -r command <"/root$PORT"
chroot /root /bin/sh -c "$command"
echo "guest: the command ended with status $?"
echo o >/root/proc/sysrq-trigger
sleep 60
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"
rm -f "$folder/why-not"
mv "$work/initramfs.gz" "$folder/initramfs.gz"
mv "$work/boot/vmlinuz-$version" "$folder/vmlinuz"

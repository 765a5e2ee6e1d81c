#!/bin/bash
# build.sh versions         prints package=version for everything the guest is made of
# build.sh build DIR CACHE  builds DIR/root.img: a disk that boots Debian with PostgreSQL; packages are kept in CACHE
#
# Needs no root, no mount and no loop device: packages are unpacked, not installed, and mke2fs fills the file system.
# The disk: MBR with syslinux, partition 1 FAT16 (kernel, initramfs), partition 2 ext4 (the system, mounted read-only).
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin" MTOOLS_SKIP_CHECK=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

boot_mib=32
# What runs in the guest: PostgreSQL, every library it is linked with, mke2fs for the first boot, busybox for the rest.
guest_packages="busybox-static libc6 postgresql-15 postgresql-client-15 libpq5 libssl3 libgssapi-krb5-2 libkrb5-3
  libk5crypto3 libcom-err2 libkrb5support0 libkeyutils1 libldap-2.5-0 libsasl2-2 libicu72 libxml2 libpam0g libaudit1
  libcap-ng0 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 libzstd1 liblzma5 zlib1g libgcc-s1 libstdc++6
  libreadline8 libtinfo6 e2fsprogs libext2fs2 libblkid1 libuuid1 libss2 libgnutls30 libnettle8 libhogweed6 libgmp10
  libidn2-0 libunistring2 libtasn1-6 libp11-kit0 libffi8"
# What makes the disk bootable; fetched beside the others so that the host needs none of it.
host_packages="syslinux syslinux-common mtools dosfstools"
# In the order in which the initramfs loads them; what the kernel has built in is skipped.
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk"
programs="usr/lib/postgresql/15/bin/postgres usr/lib/postgresql/15/bin/initdb usr/lib/postgresql/15/bin/pg_ctl
  usr/lib/postgresql/15/bin/psql sbin/mke2fs"

fail() { echo "build.sh: $*" >&2; exit 1; }

for tool in apt-get apt-cache dpkg-deb mke2fs tar gzip dd; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done

versions() {
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
  [ -n "$kernel" ] || fail "apt knows no Debian kernel: run apt-get update"
  # shellcheck disable=SC2086
  apt-cache policy $guest_packages $host_packages "$kernel" | awk '
    /^[^ ]/ { sub(":$", ""); name = $0 }
    /Candidate:/ { print name "=" $2 }'
}

fetch() { # CACHE VERSIONS: leaves every package in CACHE
  local missing="" line name file
  for line in $2; do
    name=${line%%=*} file=${line#*=}
    [ "$file" != "(none)" ] || fail "apt has no package $name: run apt-get update"
    file=$(package_file "$1" "$line")
    [ -n "$file" ] || missing="$missing $name"
  done
  [ -z "$missing" ] && return
  # Another build may be fetching too: download beside the cache and move each file in whole.
  mkdir -p "$work/fetched"
  # shellcheck disable=SC2086
  (cd "$work/fetched" && apt-get download -q $missing >"$work/apt.log" 2>&1) ||
    fail "apt-get download failed: $(tail -3 "$work/apt.log")"
  mv "$work"/fetched/*.deb "$1"/
}

package_file() { # CACHE NAME=VERSION
  local name=${2%%=*} version=${2#*=}
  local files=("$1/${name}_${version//:/%3a}"_*.deb)
  [ ! -e "${files[0]}" ] || echo "${files[0]}"
}

unpack_system() { # CACHE VERSIONS
  local line name file
  for line in $2; do
    name=${line%%=*} file=$(package_file "$1" "$line")
    case " $(echo $host_packages) " in *" $name "*) dpkg-deb --extract "$file" "$work/host"; continue ;; esac
    case "$name" in linux-image-*)
      dpkg-deb --fsys-tarfile "$file" | tar -x -C "$work/kernel" --no-same-owner ./boot ./lib/modules
      continue ;;
    esac
    dpkg-deb --fsys-tarfile "$file" | tar -x -C "$system" --no-same-owner \
      --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/share/locale*' \
      --exclude='./usr/share/bash-completion*' --exclude='./usr/share/lintian*' --exclude='./lib/udev*' \
      --exclude='./usr/share/postgresql/15/man*' --exclude='./usr/lib/postgresql/15/lib/bitcode*' \
      --exclude='*llvmjit*' --exclude='./usr/lib/x86_64-linux-gnu/gconv*' --exclude='./usr/share/perl*'
  done
}

furnish_system() {
  local name applet
  # Debian 12 has /bin, /sbin and /lib within /usr; packages still ship them apart.
  for name in bin sbin lib lib64; do
    mkdir -p "$system/usr/$name"
    if [ -d "$system/$name" ] && [ ! -L "$system/$name" ]; then
      cp -a "$system/$name/." "$system/usr/$name/"
      rm -rf "${system:?}/$name"
    fi
    ln -sfn "usr/$name" "$system/$name"
  done
  mkdir -p "$system"/{proc,sys,dev,run,tmp,etc,root,data,wal,var,mnt}
  for applet in $("$system/usr/bin/busybox" --list); do
    [ -e "$system/usr/bin/$applet" ] || [ -e "$system/usr/sbin/$applet" ] ||
      ln -s busybox "$system/usr/bin/$applet"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70:postgres:/data:/bin/sh\n' >"$system/etc/passwd"
  printf 'root:x:0:\npostgres:x:70:\n' >"$system/etc/group"
  printf 'passwd: files\ngroup: files\nhosts: files\n' >"$system/etc/nsswitch.conf"
  install -m 755 "$here"/rootfs/{init,database,writer,order} "$system/usr/sbin/"
  chmod 755 "$system"
}

check_links() { # every program must find its libraries within the system
  local program missing
  for program in $programs; do
    missing=$("$system/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --inhibit-cache --library-path \
      "$system/usr/lib/x86_64-linux-gnu" --list "$system/$program" | awk '!/=> .*'"${work##*/}"'/ && /=>/' || true)
    [ -z "$missing" ] || fail "$program lacks libraries: $missing"
  done
}

build_initramfs() { # KERNEL_MODULES_DIRECTORY
  local tree="$work/initramfs" name file
  mkdir -p "$tree"/{bin,dev,proc,sys,mnt,modules}
  cp "$system/usr/bin/busybox" "$tree/bin/busybox"
  ln -s busybox "$tree/bin/sh"
  for name in $modules; do
    file=$(find "$1" -name "$name.ko" | head -1)
    if [ -n "$file" ]; then cp "$file" "$tree/modules/" && echo "$name" >>"$tree/modules/order"; fi
  done
  install -m 755 "$here/rootfs/initramfs-init" "$tree/init"
  (cd "$tree" && find . | "$system/usr/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -6 >"$work/initrd.img")
}

little_endian() { # NUMBER: four bytes as printf escapes
  printf '\\x%02x\\x%02x\\x%02x\\x%02x' \
    $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

build_disk() { # IMAGE
  local image=$1 boot="$work/boot.img" system_mib table
  # Room for the metadata of ext4 beside the files.
  system_mib=$(($(du -sm "$system" | cut -f1) * 11 / 10 + 16))
  rm -f "$image"
  truncate -s $((1 + boot_mib + system_mib))M "$image"
  # Two entries: type 0x0e active at 1 MiB, type 0x83 after it.
  table="\\x80\\xfe\\xff\\xff\\x0e\\xfe\\xff\\xff$(little_endian 2048)$(little_endian $((boot_mib * 2048)))"
  table="$table\\x00\\xfe\\xff\\xff\\x83\\xfe\\xff\\xff$(little_endian $((2048 + boot_mib * 2048)))"
  table="$table$(little_endian $((system_mib * 2048)))"
  printf "$table" | dd of="$image" bs=1 seek=446 conv=notrunc status=none
  printf '\x55\xaa' | dd of="$image" bs=1 seek=510 conv=notrunc status=none
  PATH="$work/host/usr/bin:$work/host/usr/sbin:$work/host/sbin:$PATH"
  truncate -s ${boot_mib}M "$boot"
  mkfs.fat -F 16 -h 2048 "$boot" >/dev/null
  mcopy -i "$boot" "$work/vmlinuz" "$work/initrd.img" "$here/rootfs/syslinux.cfg" ::/
  syslinux --install "$boot"
  dd if="$boot" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
  dd if="$work/host/usr/lib/syslinux/mbr/mbr.bin" of="$image" bs=440 count=1 conv=notrunc status=none
  mke2fs -q -t ext4 -L system -O ^has_journal -d "$system" \
    -E "root_owner=0:0,nodiscard,offset=$(((1 + boot_mib) * 1048576))" "$image" ${system_mib}M
}

build() { # DIRECTORY CACHE
  local list
  mkdir -p "$1" "$2"
  work=$(mktemp -d "${TMPDIR:-/tmp}/afterimage-guest.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 143' TERM INT HUP
  system="$work/system"
  mkdir -p "$system" "$work/kernel" "$work/host"
  list=$(versions)
  fetch "$2" "$list"
  unpack_system "$2" "$list"
  furnish_system
  check_links
  build_initramfs "$work/kernel/lib/modules"
  cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
  build_disk "$1/root.img"
}

case "${1:-}" in
  versions) versions ;;
  build) [ $# = 3 ] || fail "usage: build.sh build DIR CACHE"; build "$(realpath -m "$2")" "$(realpath -m "$3")" ;;
  *) fail "usage: build.sh versions | build.sh build DIR CACHE" ;;
esac

#!/usr/bin/env bash
# Puts the manual page and the shells' completions where man and the shells look for
# them. Usage: install_texts.sh PROGRAM SHARE, such as build/trtact /usr/local/share
set -euo pipefail

program=$1 share=$2
put() { # FILE COMMAND...: the command's output becomes the file
  local file=$share/$1
  shift
  mkdir -p "$(dirname "$file")"
  "$program" "$@" >"$file.new"
  chmod 644 "$file.new"
  mv "$file.new" "$file"
}
put man/man1/trtact.1 man
put bash-completion/completions/trtact completion bash
put zsh/site-functions/_trtact completion zsh
put fish/vendor_completions.d/trtact.fish completion fish

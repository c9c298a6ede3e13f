#!/usr/bin/env bash
# Put OpenClaw LAN Mesh on a machine that has OpenClaw, or take it off again. `./install.sh --help` tells more.
set -euo pipefail

here=${BASH_SOURCE[0]}
while [ -L "$here" ]; do # this file may be reached by a link
    target=$(readlink "$here")
    case $target in /*) here=$target ;; *) here=$(dirname "$here")/$target ;; esac
done
# shellcheck source=scripts/environment
. "$(dirname "$here")/scripts/environment"

oldest_openclaw=2026.3.12
uninstall='' purge='' dry_run='' check=yes
python='' openclaw='' state='' config='' registry='' place='' changed='' held=''

umask 077
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export PIP_USER=0 PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1

say() { # say <English> <Chinese>
    case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in
    zh*) printf '%s\n' "$2" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

fail() {
    say "$@" >&2
    exit 1
}

usage() {
    say "usage: ./install.sh [--dry-run] [--no-check]
       ./install.sh --uninstall [--purge] [--dry-run]

Puts OpenClaw LAN Mesh beside the OpenClaw of this user; run it again to repair or to update.

  --dry-run    say what would be done, change nothing
  --no-check   do not try out the result
  --uninstall  take it off again; messages, tasks, settings and tokens stay
  --purge      with --uninstall: those go as well

OPENCLAW_STATE_DIR and OPENCLAW_CONFIG_PATH count as they do for OpenClaw." \
        "用法:./install.sh [--dry-run] [--no-check]
      ./install.sh --uninstall [--purge] [--dry-run]

为当前用户的 OpenClaw 安装 OpenClaw LAN Mesh;再次运行即可修复或更新。

  --dry-run    只说明将要做什么,不作任何改动
  --no-check   不试运行安装结果
  --uninstall  卸载;消息、任务、设置和 Token 保留
  --purge      与 --uninstall 同用:上述数据也一并删除

OPENCLAW_STATE_DIR 和 OPENCLAW_CONFIG_PATH 的含义与 OpenClaw 相同。"
}

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --dry-run) dry_run=yes ;;
        --no-check) check='' ;;
        -h | --help)
            usage
            return
            ;;
        *)
            usage >&2
            exit 64
            ;;
        esac
        shift
    done
    if [ -n "$purge" ] && [ -z "$uninstall" ]; then
        fail "--purge goes with --uninstall only" "--purge 只能与 --uninstall 同用"
    fi
    refuse_sudo
    need_python
    need_places
    if [ -n "$uninstall" ]; then take_off; else put_on; fi
}

refuse_sudo() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER-}" ] && [ "$SUDO_USER" != root ]; then
        fail "run this without sudo, as the user whose OpenClaw it is" "请不要用 sudo,直接以使用 OpenClaw 的用户身份运行"
    fi
}

need_python() {
    python=$(find_python) || fail "Nothing was changed." "未找到 Python 3.11 或更新版本(安装方法见上)。未作任何改动。"
    python=$(command -v "$python")
}

need_places() {
    local lines
    lines=$(ask where) || exit 1
    state=$(sed -n 1p <<<"$lines")
    config=$(sed -n 2p <<<"$lines")
    place="$state/lanmesh"
}

ask() { # what is done to OpenClaw's own files; needs no package
    PYTHONPATH="$root/src" "$python" -m lanmesh.cli.installation "$@" ${dry_run:+--dry-run}
}

# ── on ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

put_on() {
    need_openclaw
    # A config that cannot be changed stops us before anything is.
    registry=$(ask register "$place/plugin" --dry-run) ||
        fail "Nothing was changed. Mend that and run this again." "未作任何改动。请先解决上述问题,然后再次运行。"
    registry=$(sed -n 's/^file //p' <<<"$registry")
    need_folder
    put_environment
    put_plugin
    put_token
    put_registration
    if [ -n "$check" ] && [ -z "$dry_run" ]; then try_out; fi
    if [ -n "$dry_run" ]; then
        say "Nothing was changed." "未作任何改动。"
    else
        tell_next
    fi
}

need_openclaw() {
    local said version
    openclaw=$(command -v openclaw || true)
    if [ -z "$openclaw" ] && [ -x "$state/bin/openclaw" ]; then openclaw="$state/bin/openclaw"; fi
    if [ -z "$openclaw" ]; then
        fail "openclaw is not on PATH: install OpenClaw $oldest_openclaw or newer first. Nothing was changed." \
            "PATH 中没有 openclaw:请先安装 OpenClaw $oldest_openclaw 或更新版本。未作任何改动。"
    fi
    said=$("$openclaw" --version 2>&1 </dev/null) ||
        fail "$openclaw does not run: $said" "$openclaw 无法运行:$said"
    version=$(grep -oE '[0-9]{4}\.[0-9]+\.[0-9]+' <<<"$said" | head -n 1) || version=''
    if [ -z "$version" ]; then
        say "OpenClaw: $openclaw (its version cannot be told: $said)" "OpenClaw:$openclaw(无法识别版本:$said)"
    elif older "$version" "$oldest_openclaw"; then
        fail "OpenClaw $version is too old: update it to $oldest_openclaw or newer. Nothing was changed." \
            "OpenClaw $version 版本过旧:请更新到 $oldest_openclaw 或更新版本。未作任何改动。"
    else
        say "OpenClaw $version: $openclaw" "OpenClaw $version:$openclaw"
    fi
}

older() { # older <a.b.c> <a.b.c>
    local a b c x y z
    IFS=. read -r a b c <<<"$1"
    IFS=. read -r x y z <<<"$2"
    [ $((a * 1000000 + b * 1000 + c)) -lt $((x * 1000000 + y * 1000 + z)) ]
}

need_folder() {
    [ -z "$dry_run" ] || return 0
    if ! { mkdir -p "$place" && [ -w "$place" ] && [ -w "$state" ]; }; then
        fail "$place cannot be written to. Nothing was changed." "无法写入 $place。未作任何改动。"
    fi
    chmod 700 "$place" # it holds the key of the node, which does not start where others may read it
    hold
}

hold() { # one installer at a time
    trap 'rm -f "$held"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    take_lock "$place/.install.lock"
    held="$place/.install.lock"
}

put_environment() {
    local stamp folder log began=$SECONDS
    stamp=$(installed_stamp)
    folder="$place/venvs/$(date +%Y%m%d-%H%M%S)-$$" # never one that a killed run may still be writing to
    if [ "$(cat "$place/venv/stamp" 2>/dev/null)" = "$stamp" ] &&
        "$place/venv/bin/python" -c 'import lanmesh' 2>/dev/null; then
        say "Python environment: $place/venv (stands)" "Python 环境:$place/venv(已就绪)"
        return
    fi
    if [ -n "$dry_run" ]; then
        say "would make the Python environment $place/venv with $python" "将用 $python 创建 Python 环境 $place/venv"
        return
    fi
    say "making the Python environment $place/venv (about half a minute) …" "正在创建 Python 环境 $place/venv(约半分钟)…"
    mkdir -p "$place/venvs"
    log="$place/venvs/install.log"
    if ! install_environment "$python" run "$folder" >"$log" 2>&1; then
        cat "$log" >&2
        rm -rf "$folder"
        fail "Making the Python environment failed (above); mend that and run this again. OpenClaw was not changed." \
            "创建 Python 环境失败(见上);请解决后再次运行。OpenClaw 未被改动。"
    fi
    rm -f "$log"
    echo "$stamp" >"$folder/stamp" # last, so that an interrupted run is done over
    point_to "$folder"
    remove_environments_except "$folder"
    changed=yes
    say "Python environment: $place/venv ($((SECONDS - began)) s)" "Python 环境:$place/venv($((SECONDS - began)) 秒)"
}

installed_stamp() { # the environment depends on nothing else
    {
        echo "$place $python"
        "$python" -V
        cd "$root"
        cat requirements/run.txt pyproject.toml
        find src -type f ! -name '*.pyc' | LC_ALL=C sort | while read -r file; do
            echo "$file"
            cat "$file"
        done
    } | digest
}

point_to() { # in one step, so that there is an environment at any moment
    if [ -e "$place/venv" ] && [ ! -L "$place/venv" ]; then rm -rf "$place/venv"; fi
    ln -sfn "$1" "$place/venv.new"
    "$python" -c 'import os, sys; os.replace(sys.argv[1], sys.argv[2])' "$place/venv.new" "$place/venv"
}

remove_environments_except() {
    local folder
    for folder in "$place/venvs"/*; do
        if [ "$folder" != "$1" ]; then rm -rf "$folder" || true; fi
    done
}

put_plugin() {
    local new="$place/plugin.new" old="$place/plugin.old"
    if [ -n "$dry_run" ]; then
        if [ -d "$place/plugin" ] && diff -rq -x node_modules -x test -x package-lock.json "$root/plugin" "$place/plugin" >/dev/null; then
            say "plugin: $place/plugin (stands)" "插件:$place/plugin(已就绪)"
        else
            say "would copy the plugin to $place/plugin" "将把插件复制到 $place/plugin"
        fi
        return
    fi
    rm -rf "$new" "$old"
    cp -R "$root/plugin" "$new"
    rm -rf "$new/node_modules" "$new/test" "$new/package-lock.json"
    if [ -d "$place/plugin" ] && diff -rq "$new" "$place/plugin" >/dev/null; then
        rm -rf "$new"
        say "plugin: $place/plugin (stands)" "插件:$place/plugin(已就绪)"
        return
    fi
    if [ -e "$place/plugin" ]; then mv "$place/plugin" "$old"; fi
    mv "$new" "$place/plugin"
    rm -rf "$old"
    changed=yes
    say "plugin: $place/plugin" "插件:$place/plugin"
}

put_token() {
    local said
    said=$(ask token) || fail "The token could not be written." "无法写入 Token。"
    case "$said$dry_run" in
    kept*) say "OPENCLAW_LAN_TOKEN in $state/.env: kept" "$state/.env 中的 OPENCLAW_LAN_TOKEN:保留原值" ;;
    writtenyes) say "would write OPENCLAW_LAN_TOKEN to $state/.env" "将把 OPENCLAW_LAN_TOKEN 写入 $state/.env" ;;
    *)
        changed=yes
        say "OPENCLAW_LAN_TOKEN: written to $state/.env" "OPENCLAW_LAN_TOKEN:已写入 $state/.env"
        ;;
    esac
}

put_registration() {
    local before='' said
    if [ -z "$dry_run" ] && [ -n "$check" ]; then
        before=$(mktemp)
        if [ -f "$registry" ]; then cat "$registry" >"$before"; else rm -f "$before"; fi
    fi
    said=$(ask register "$place/plugin") || fail "The plugin could not be registered." "无法注册插件。"
    case "$(sed -n 1p <<<"$said")$dry_run" in
    unchanged*) say "plugin registered in $registry (stands)" "插件已在 $registry 中注册(无需改动)" ;;
    *yes) say "would register the plugin in $registry" "将在 $registry 中注册插件" ;;
    *)
        changed=yes
        say "plugin registered in $registry" "插件已在 $registry 中注册"
        if [ -n "$before" ]; then see_registration "$before" "$said"; fi
        ;;
    esac
    if [ -n "$before" ]; then rm -f "$before"; fi
    sed -n 's/^linked //p' <<<"$said" | while read -r folder; do
        say "note: the plugin is linked from $folder, so OpenClaw goes on loading that one" \
            "注意:插件已从 $folder 链接,OpenClaw 将继续加载该处的插件"
    done
    sed -n 's/^obstacle //p' <<<"$said" | while read -r key; do
        say "note: $key in $registry keeps the plugin from loading; change it if you want the mesh" \
            "注意:$registry 中的 $key 会阻止插件加载;如需使用请修改"
    done
}

see_registration() { # OpenClaw must find the plugin by its config; else the config is put back: a gateway must start
    local listed
    if listed=$("$openclaw" plugins list --json 2>&1 </dev/null) && grep -q '"openclaw-lan-mesh"' <<<"$listed"; then
        return
    fi
    if [ -f "$1" ]; then cat "$1" >"$registry"; else rm -f "$registry"; fi
    rm -f "$1"
    tail -n 20 <<<"$listed" >&2
    fail "OpenClaw does not take the config with the plugin (above), so $registry was put back as it was. Mend that and run this again." \
        "OpenClaw 不接受带有该插件的配置(见上),$registry 已恢复原样。请解决后再次运行。"
}

try_out() {
    if "$place/venv/bin/python" -m lanmesh.cli.installation prove >/dev/null; then
        say "checked: the node starts, is healthy, and lets the token in" "检查通过:节点可启动、状态正常,并接受该 Token"
    else
        fail "The installed node does not work (above); mend that and run this again." "安装的节点无法工作(见上);请解决后再次运行。"
    fi
}

tell_next() {
    local restart="openclaw daemon restart"
    echo
    if [ -z "$changed" ]; then
        say "All of it stood already; nothing was changed." "一切均已就绪,未作任何改动。"
    else
        say "Installed. Next:" "安装完成。接下来:"
        if "$openclaw" gateway --help 2>/dev/null </dev/null | grep -qE '^ +restart '; then restart="openclaw gateway restart"; fi
        say "1. Restart the gateway:  $restart" "1. 重启 Gateway:$restart"
        say "2. On one of two machines, in a chat: /lan-pair     In a terminal: $place/venv/bin/lanmesh pair
   It answers with a command for the other; nothing else has to be set." \
            "2. 在两台机器中的一台,在聊天中输入 /lan-pair,或在终端运行 $place/venv/bin/lanmesh pair
   它会给出在另一台上使用的命令;无需其他设置。"
        say "3. Then, in a chat: /lan-status     In a terminal: $place/venv/bin/lanmesh status" \
            "3. 然后在聊天中输入 /lan-status,或在终端运行 $place/venv/bin/lanmesh status"
    fi
}

# ── off ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

take_off() {
    local said
    if [ ! -d "$place" ] && [ ! -f "$config" ]; then
        say "There is nothing to take off." "没有可卸载的内容。"
        return
    fi
    if [ -z "$dry_run" ] && [ -d "$place" ]; then hold; fi
    # The config first: a gateway must never be left with a plugin that is gone.
    said=$(ask unregister "$place/plugin" ${purge:+--forget}) ||
        fail "Nothing was taken off. Mend that and run this again." "未卸载任何内容。请解决上述问题后再次运行。"
    case "$(sed -n 1p <<<"$said")$dry_run" in
    unchanged*) say "config: $config has nothing to take out" "配置:$config 无需改动" ;;
    *yes) say "would take the plugin out of $config" "将从 $config 中移除插件" ;;
    *) say "config: the plugin is out of $config" "配置:插件已从 $config 中移除" ;;
    esac
    sed -n 's/^linked //p' <<<"$said" | while read -r folder; do
        say "note: the plugin is linked from $folder; to end that: openclaw plugins uninstall openclaw-lan-mesh" \
            "注意:插件从 $folder 链接;如需移除:openclaw plugins uninstall openclaw-lan-mesh"
    done
    if [ -n "$purge" ]; then
        remove_all
    else
        remove "$place/plugin" "$place/plugin.new" "$place/plugin.old" "$place/venv" "$place/venv.new" "$place/venvs"
        if [ -z "$dry_run" ]; then
            rm -f "$held"
            rmdir "$place" 2>/dev/null || say "kept: $place and the tokens in $state/.env (--purge removes them)" \
                "保留:$place 以及 $state/.env 中的 Token(--purge 可删除)"
        fi
    fi
    if [ -n "$dry_run" ]; then
        say "Nothing was changed." "未作任何改动。"
    else
        say "Taken off. If the gateway runs, restart it:  openclaw daemon restart" "卸载完成。如果 Gateway 正在运行,请重启:openclaw daemon restart"
    fi
}

remove_all() {
    case "$(ask forget-token)$dry_run" in
    removed) say "OPENCLAW_LAN_TOKEN: removed from $state/.env" "OPENCLAW_LAN_TOKEN:已从 $state/.env 中删除" ;;
    removedyes) say "would remove OPENCLAW_LAN_TOKEN from $state/.env" "将从 $state/.env 中删除 OPENCLAW_LAN_TOKEN" ;;
    kept*) say "OPENCLAW_LAN_TOKEN in $state/.env is your own: kept" "$state/.env 中的 OPENCLAW_LAN_TOKEN 是您自己设置的:保留" ;;
    esac
    if [ -z "$dry_run" ] && ! node_is_gone; then
        fail "A node still works in $place: stop the gateway and run this again." "仍有节点在 $place 中运行:请停止 Gateway 后再次运行。"
    fi
    remove "$place"
    held=''
    if [ -z "$dry_run" ]; then rmdir "$state" 2>/dev/null || true; fi
}

node_is_gone() { # a gateway that sees its config change stops the node by itself
    local pid tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        pid=$(sed -nE 's/.*"pid": *([0-9]+).*/\1/p' "$place/node.json" 2>/dev/null | head -n 1) || pid=''
        if [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then return 0; fi
        [ "$tries" = 10 ] || sleep 1
    done
    return 1
}

remove() {
    local path
    for path in "$@"; do
        if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
        if [ -n "$dry_run" ]; then
            say "would remove $path" "将删除 $path"
        else
            rm -rf "$path"
        fi
    done
}

main "$@"

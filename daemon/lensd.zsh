#compdef lensd
# Completion of lensd in zsh. Flags and their choices are read from `lensd --help`, which its settings' rows make.
_lensd() {
    local flag row value choices
    local -a rows fields
    rows=("${(@f)$(${words[1]/#\~/$HOME} --help 2>/dev/null | awk '
        /^  --/ { if (name != "") print name, value, choices; name = $1; value = $2 == "" ? "-" : $2
                  choices = value ~ /\|/ ? value : "" }
        /^      / && choices == "" && match($0, /[a-z0-9_]+(\|[a-z0-9_]+)+/) { choices = substr($0, RSTART, RLENGTH) }
        END { print name, value, choices }')}")
    flag=${words[CURRENT-1]}
    if [[ $PREFIX == --*=* ]]; then
        flag=${PREFIX%%=*}
        compset -P '*='
    fi
    row=${rows[(r)$flag *]}
    if [[ $flag != -* || -z $row || $row == *' - '* ]]; then
        compadd -- ${rows%% *}
        return
    fi
    fields=(${=row})
    value=$fields[2] choices=$fields[3]
    if [[ -n $choices ]]; then
        compadd -- ${(s:|:)choices}
    elif [[ $value == (FILE|PATH|DIR*) ]]; then
        _files
    fi
}
if [[ $funcstack[1] == _lensd ]]; then
    _lensd "$@"
else
    compdef _lensd lensd
fi

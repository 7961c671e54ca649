# Completion of lensd in fish. Flags and their choices are read from `lensd --help`, which its settings' rows make.
function __lensd_rows
    set -l words (commandline -opc)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    $program --help 2>/dev/null | awk '
        /^  --/ { if (name != "") print name, value, choices; name = $1; value = $2 == "" ? "-" : $2
                  choices = value ~ /\|/ ? value : "" }
        /^      / && choices == "" && match($0, /[a-z0-9_]+(\|[a-z0-9_]+)+/) { choices = substr($0, RSTART, RLENGTH) }
        END { print name, value, choices }'
end

function __lensd_complete
    set -l current (commandline -ct)
    set -l flag (commandline -opc)[-1]
    set -l prefix (string match -r -- '^--[^=]*=' "$current")
    if test -n "$prefix"
        set flag (string replace -r '=$' '' -- $prefix)
    end
    set -l rows (__lensd_rows)
    set -l row (string match -- "$flag *" $rows)
    set -l fields (string split ' ' -- $row)
    if not string match -q -- '-*' $flag; or test -z "$row"; or test "$fields[2]" = -
        string replace -r ' .*' '' -- $rows
    else if test -n "$fields[3]"
        for choice in (string split '|' -- $fields[3])
            echo "$prefix$choice"
        end
    else if string match -q -r '^(FILE|PATH|DIR.*)$' -- $fields[2]
        __fish_complete_path (string replace -r -- '^-[^=]*=' '' "$current") | string replace -r -- '^' "$prefix"
    end
end
complete -c lensd -f -a '(__lensd_complete)'

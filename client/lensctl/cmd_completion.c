/* lensctl completion SHELL: the script that makes a shell ask lensctl what to propose (complete.h). Scripts hold no
 * word of the command table, so they never lag behind it. */
#include "client/lensctl/commands.h"

/* bash cuts words at : and =, and replaces what follows the last of them only. What is proposed goes into the line as
 * it stands, so it is quoted here: names of packs and concepts may hold anything a shell would run. */
static const char bash_script[] = "# Completion of lensctl in bash: lensctl itself is asked what fits.\n"
                                  "_lensctl() {\n"
                                  "    local rest=${COMP_LINE:0:COMP_POINT} trimmed current kept line i\n"
                                  "    local -a words=()\n"
                                  "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
                                  "        trimmed=${rest#\"${rest%%[![:space:]]*}\"}\n"
                                  "        current=${COMP_WORDS[i]}\n"
                                  "        ((i == COMP_CWORD)) && current=$trimmed\n"
                                  "        if ((i > 0)) && [[ $trimmed == \"$rest\" ]]; then\n"
                                  "            words[${#words[@]}-1]+=$current\n"
                                  "        else\n"
                                  "            words+=(\"$current\")\n"
                                  "        fi\n"
                                  "        rest=${trimmed#\"$current\"}\n"
                                  "    done\n"
                                  "    for i in \"${!words[@]}\"; do\n"
                                  "        IFS= read current <<< \"${words[i]}\"\n"
                                  "        words[i]=$current\n"
                                  "    done\n"
                                  "    kept=\n"
                                  "    [[ $current == *[:=]* ]] && kept=${current%\"${current##*[:=]}\"}\n"
                                  "    COMPREPLY=()\n"
                                  "    while IFS= read -r line; do\n"
                                  "        case $line in\n"
                                  "        :file | :directory)\n"
                                  "            local flag= kind=-f\n"
                                  "            [[ $current == -*=* ]] && flag=${current%%=*}=\n"
                                  "            [[ $line == :directory ]] && kind=-d\n"
                                  "            compopt -o filenames 2>/dev/null\n"
                                  "            while IFS= read -r line; do\n"
                                  "                line=$flag$line\n"
                                  "                COMPREPLY+=(\"${line#\"$kept\"}\")\n"
                                  "            done < <(compgen $kind -- \"${current#\"$flag\"}\")\n"
                                  "            ;;\n"
                                  "        :nospace) compopt -o nospace 2>/dev/null ;;\n"
                                  "        *)\n"
                                  "            line=${line%%$'\\t'*} line=${line#\"$kept\"}\n"
                                  "            [[ $line == *[!a-zA-Z0-9_.,:=@%+/-]* ]] && printf -v line %q \"$line\"\n"
                                  "            COMPREPLY+=(\"$line\")\n"
                                  "            ;;\n"
                                  "        esac\n"
                                  "    done < <(\"${words[0]/#\\~/$HOME}\" __complete \"${words[@]:1}\" 2>/dev/null)\n"
                                  "}\n"
                                  "complete -F _lensctl lensctl\n";

static const char zsh_script[] =
    "#compdef lensctl\n"
    "# Completion of lensctl in zsh: lensctl itself is asked what fits.\n"
    "_lensctl() {\n"
    "    local line ret=1\n"
    "    local -a plain told shown space\n"
    "    for line in \"${(@f)$(${words[1]/#\\~/$HOME} __complete \"${(@Q)words[2,CURRENT-1]}\" \"${(Q)PREFIX}\" "
    "2>/dev/null)}\"; do\n"
    "        case $line in\n"
    "        '') ;;\n"
    "        :file) [[ $PREFIX == -*=* ]] && compset -P '*='; _files && ret=0 ;;\n"
    "        :directory) [[ $PREFIX == -*=* ]] && compset -P '*='; _files -/ && ret=0 ;;\n"
    "        :nospace) space=(-S '') ;;\n"
    "        *$'\\t'?*) told+=(\"${line%%$'\\t'*}\"); shown+=(\"${line/$'\\t'/  -- }\") ;;\n"
    "        *) plain+=(\"${line%%$'\\t'*}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    (($#told)) && compadd \"${space[@]}\" -l -d shown -a told && ret=0\n"
    "    (($#plain)) && compadd \"${space[@]}\" -a plain && ret=0\n"
    "    return ret\n"
    "}\n"
    "if [[ $funcstack[1] == _lensctl ]]; then\n"
    "    _lensctl \"$@\"\n"
    "else\n"
    "    compdef _lensctl lensctl\n"
    "fi\n";

static const char fish_script[] =
    "# Completion of lensctl in fish: lensctl itself is asked what fits.\n"
    "function __lensctl_complete\n"
    "    set -l before (commandline -opc)\n"
    "    set -l current (commandline -ct)\n"
    "    set -l flag (string match -r -- '^-[^=]*=' \"$current\")\n"
    "    set -l program (string replace -r '^~' $HOME -- $before[1])\n"
    "    for line in ($program __complete $before[2..] \"$current\" 2>/dev/null)\n"
    "        switch $line\n"
    "            case :file\n"
    "                __fish_complete_path (string replace -r -- '^-[^=]*=' '' \"$current\") |\n"
    "                    string replace -r -- '^' \"$flag\"\n"
    "            case :directory\n"
    "                __fish_complete_directories (string replace -r -- '^-[^=]*=' '' \"$current\") |\n"
    "                    string replace -r -- '^' \"$flag\"\n"
    "            case :nospace\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c lensctl -f -a '(__lensctl_complete)'\n";

const char *const ctl_shell_names[] = {"bash", "zsh", "fish", NULL};

int ctl_run_completion(struct ctl *ctl)
{
    static const char *const scripts[] = {bash_script, zsh_script, fish_script};
    fputs(scripts[ctl_argument_choice(ctl, 0)], ctl->out.file);
    return CTL_OK;
}

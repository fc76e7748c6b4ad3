import { candidatesWord } from './candidates-word.js'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

// Each asks the command itself, so that a script never lists a verb or option that the
// installed version does not have.
export const completionScripts: Readonly<Record<Shell, string>> = {
  bash: `_varve() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=() line
  # Bash takes REF:NAME for three words: put together what has no space in between.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    local words cword
    _get_comp_words_by_ref -n := -w words -i cword
    current=\${words[cword]}
    before=("\${words[@]:1:cword-1}")
  else
    before=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
  fi
  COMPREPLY=()
  compopt +o nospace 2>/dev/null
  while IFS= read -r line; do
    case $line in
      :file) compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current") ;;
      :directory) compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "$current") ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" ${candidatesWord} "\${before[@]}" "$current" 2>/dev/null)
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
}
complete -F _varve varve
`,
  zsh: `#compdef varve
_varve() {
  local -a found
  local line name
  for line in "\${(@f)$(\${words[1]} ${candidatesWord} "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      '') ;;
      :file) _files ;;
      :directory) _files -/ ;;
      *$'\\t'*) name=\${line%%$'\\t'*}; found+=("\${name//:/\\\\:}:\${line#*$'\\t'}") ;;
      *) found+=("\${line//:/\\\\:}") ;;
    esac
  done
  (( $#found )) && _describe varve found
}
if [ "$funcstack[1]" = _varve ]; then _varve "$@"; else compdef _varve varve; fi
`,
  fish: `function __varve_candidates
  set -l words (commandline --current-process --tokenize --cut-at-cursor)
  set -l current (commandline --current-token --cut-at-cursor)
  for line in ($words[1] ${candidatesWord} $words[2..-1] "$current" 2>/dev/null)
    switch $line
      case :file
        __fish_complete_path "$current"
      case :directory
        __fish_complete_directories "$current"
      case '*'
        echo $line
    end
  end
end
complete --command varve --no-files --arguments '(__varve_candidates)'
`,
}

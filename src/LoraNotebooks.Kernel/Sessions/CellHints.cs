using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>What to write instead of the commands of other notebooks, such as <c>%time</c> and <c>!pip install</c>.</summary>
internal static partial class CellHints
{
    private static readonly string[] Programs = ["ls", "dir", "pwd", "nvidia-smi", "whoami", "date", "hostname", "python", "pip", "dotnet"];

    /// <summary>The answer to a line that is such a command; null if it is none. Only for lines that are no C#.</summary>
    public static string? Of(string line)
    {
        if (Command().Match(line) is not { Success: true } command)
        {
            return null;
        }

        var (mark, name, rest) = (command.Groups["mark"].Value, command.Groups["name"].Value, command.Groups["rest"].Value.Trim());
        if (mark[0] == '!' && rest.Length == 0 && !Programs.Contains(name, StringComparer.OrdinalIgnoreCase))
        {
            // The negation of something.
            return null;
        }

        var instead = mark.StartsWith('%') ? OfMagic(name, rest) : OfProgram(name, rest);
        return $"{mark}{name} is not C#. {instead}";
    }

    private static string OfMagic(string name, string rest) => name.ToLowerInvariant() switch
    {
        "time" or "timeit" or "prun" => "To measure a cell, begin it with the line #!time.",
        "who" or "who_ls" => "Write #!who.",
        "whos" => "Write #!whos.",
        "lsmagic" or "magic" or "quickref" => "Write #!lsmagic.",
        "html" => "Write #!html.",
        "markdown" or "latex" => "Write #!markdown.",
        "pip" or "conda" or "dotnet" => Package(rest),
        "run" or "load" => $"Write #load \"{(rest.Length > 0 ? rest : "file.csx")}\".",
        "cd" => "Write Environment.CurrentDirectory = \"…\";",
        "pwd" => "Write Environment.CurrentDirectory.",
        "env" or "set_env" => "Write Environment.GetEnvironmentVariable(\"…\").",
        "matplotlib" or "autoreload" or "config" or "load_ext" => "Nothing has to be set up here; leave it out.",
        "bash" or "sh" or "system" or "sx" => Start(rest),
        _ when CellLanguages.OfMagic("#!" + name) is { Magic: null } language => $"What follows {CellLanguages.Refusal(language)}.",
        _ => $"There are: {string.Join(", ", CellMagics.Known.Select(magic => magic.Name))}.",
    };

    private static string OfProgram(string name, string rest) => name.ToLowerInvariant() switch
    {
        "pip" or "pip3" or "conda" or "nuget" => Package(rest),
        "dotnet" when rest.StartsWith("add ", StringComparison.Ordinal) => Package(rest),
        "cd" => "Write Environment.CurrentDirectory = \"…\";",
        "ls" or "dir" => "Write Directory.GetFileSystemEntries(\".\").",
        "pwd" => "Write Environment.CurrentDirectory.",
        "cat" or "type" => $"Write File.ReadAllText(\"{(rest.Length > 0 ? rest : "…")}\").",
        _ => Start($"{name} {rest}"),
    };

    private static string Package(string rest)
    {
        var name = rest.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .LastOrDefault(word => !word.StartsWith('-') && word is not ("install" or "add" or "package"));
        return $"A package is had by #r \"nuget: {name ?? "Name"}\".";
    }

    private static string Start(string command) =>
        command.Trim().Split(' ', 2) is [{ Length: > 0 } program, .. var rest]
            ? $"A program is run by Process.Start(\"{program}\""
                + $"{(rest is [{ Length: > 0 } arguments] ? $", \"{arguments.Replace("\"", "\\\"", StringComparison.Ordinal)}\"" : "")}).WaitForExit();"
            : "A program is run by Process.Start(\"program\", \"arguments\").WaitForExit();";

    [GeneratedRegex(@"^\s*(?<mark>%%?|!!?)(?<name>[A-Za-z][\w.-]*)(?<rest>\s+[-\w./~$""'({\[].*)?\s*$")]
    private static partial Regex Command();
}

using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>An error as messages and notebooks carry it, its traceback in the colours that IPython gives one.</summary>
internal static partial class ErrorOutput
{
    private const string Red = "\u001b[0;31m";
    private const string Green = "\u001b[0;32m";
    private const string Cyan = "\u001b[0;36m";
    private const string Plain = "\u001b[0m";

    /// <summary>The members <c>ename</c>, <c>evalue</c> and <c>traceback</c>.</summary>
    public static JsonObject Content(CellError error) => new()
    {
        ["ename"] = error.Name,
        ["evalue"] = error.Message,
        ["traceback"] = new JsonArray([.. error.Traceback.Select(line => (JsonNode)Coloured(line, error))]),
    };

    /// <summary>What went wrong is red, places are green, methods are cyan.</summary>
    private static string Coloured(string line, CellError error)
    {
        if (line.StartsWith(error.Name + ": ", StringComparison.Ordinal))
        {
            return Red + error.Name + Plain + line[error.Name.Length..];
        }

        line = Cause().Replace(line, $"${{lead}}{Red}${{name}}{Plain}");
        line = Frame().Replace(line, match => match.Groups["place"].Success
            ? $"   at {Green}{match.Groups["place"]}{Plain}{(match.Groups["method"].Success ? $", in {Cyan}{match.Groups["method"]}{Plain}" : "")}"
            : $"   at {Cyan}{match.Groups["other"]}{Plain}");
        line = Fault().Replace(line, $"{Green}${{place}}{Plain}: {Red}${{error}}{Plain}");
        line = Gutter().Replace(line, $"{Green}$0{Plain}");
        line = Mark().Replace(line, $"${{gutter}}{Red}${{mark}}{Plain}");
        return line == error.Message ? Red + line + Plain : line;
    }

    [GeneratedRegex(@"\A(?<lead>Caused by )(?<name>[A-Za-z_][\w.]*)(?=: )")]
    private static partial Regex Cause();

    [GeneratedRegex(@"\A   at (?:(?<place>[^:]+, line \d+)(?:, in (?<method>[^:]+))?(?=: )|(?<other>[^ ]+)\z)")]
    private static partial Regex Frame();

    [GeneratedRegex(@"\A(?<place>[^:]+, line \d+, column \d+): (?<error>error \w+)")]
    private static partial Regex Fault();

    [GeneratedRegex(@"\A *\d+ \| ")]
    private static partial Regex Gutter();

    [GeneratedRegex(@"\A(?<gutter> +\| +)(?<mark>\^+)\z")]
    private static partial Regex Mark();
}

using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using PublicApiGenerator;

namespace LoraNotebooks.Tests.PublicApi;

/// <summary>What an assembly offers to its users, beside the text file in which it was last accepted.</summary>
internal static partial class PublicSurface
{
    private const int MostNamed = 10;
    private const string Indentation = "    ";

    /// <summary>Fails where the assembly's public types and members are not those of the file, or writes the file anew where that is asked for.</summary>
    /// <param name="assembly">The assembly.</param>
    /// <param name="name">The file's name without its ending; it lies beside the test.</param>
    /// <param name="test">The test's own file.</param>
    public static void Check(Assembly assembly, string name, [CallerFilePath] string test = "")
    {
        var file = Path.Combine(Path.GetDirectoryName(test)!, name + ".txt");
        var now = Of(assembly);
        if (Renewal.IsAsked)
        {
            File.WriteAllText(file, now);
            return;
        }

        var accepted = File.Exists(file) ? File.ReadAllText(file).ReplaceLineEndings("\n") : "";
        if (accepted != now)
        {
            Assert.Fail($"""
                The public surface of {name} is not the one in PublicApi/{name}.txt.
                {Differences(accepted, now)}
                {Renewal.Advice(name + ".Tests", nameof(PublicApi))}
                """);
        }
    }

    /// <summary>Ten of the lines that only one of two surfaces has, each with the type it stands in: <c>-</c> was, <c>+</c> is new.</summary>
    public static string Differences(string accepted, string now)
    {
        var (before, after) = (Members(accepted), Members(now));
        string[] lines =
        [
            .. Without(before, after).Select(static member => (member, mark: "-"))
                .Concat(Without(after, before).Select(static member => (member, mark: "+")))
                .OrderBy(static line => line.member, StringComparer.Ordinal).ThenByDescending(static line => line.mark, StringComparer.Ordinal)
                .Select(static line => $"{line.mark} {line.member}")
        ];
        return lines.Length switch
        {
            0 => "Every line is in both; their order, or what stands between them, is another.",
            > MostNamed => $"{string.Join('\n', lines.Take(MostNamed))}\nand {lines.Length - MostNamed} more",
            _ => string.Join('\n', lines),
        };
    }

    // A line for each type and member, without assembly attributes and versions. Overloads come in the order of their text, for the compiler's is that of
    // files: so the text is the same on every machine.
    private static string Of(Assembly assembly)
    {
        var text = assembly.GeneratePublicApi(new ApiGeneratorOptions { IncludeAssemblyAttributes = false }).ReplaceLineEndings("\n").TrimEnd();
        text = AttributeValues().Replace(text, static values => WhiteSpace().Replace(values.Value, " "));
        text = Constraint().Replace(EndOfAttribute().Replace(text, " "), " where ");
        var lines = new List<string>();
        var overloads = new List<string>();
        foreach (var line in text.Split('\n'))
        {
            if (overloads.Count > 0 && MethodName(line) != MethodName(overloads[0]))
            {
                lines.AddRange(overloads.Order(StringComparer.Ordinal));
                overloads.Clear();
            }

            overloads.Add(line);
        }

        return string.Join('\n', [.. lines, .. overloads]) + "\n";
    }

    // Where a line is no method, the line itself.
    private static string MethodName(string line) =>
        Method().Match(LeadingAttributes().Replace(line, "")) is { Success: true } method ? method.Groups[1].Value : line;

    private static string[] Without(IReadOnlyList<string> these, IReadOnlyList<string> those)
    {
        var left = those.CountBy(static member => member).ToDictionary();
        return [.. these.Where(member => !left.TryGetValue(member, out var count) || (left[member] = count - 1) < 0)];
    }

    // "Namespace.Type: member": what a line says in itself, behind the heads of the blocks that it stands in.
    private static List<string> Members(string surface)
    {
        var members = new List<string>();
        var blocks = new List<string>();
        foreach (var line in surface.Split('\n'))
        {
            var text = line.Trim();
            if (text is "" or "{" or "}")
            {
                continue;
            }

            var depth = (line.Length - line.TrimStart().Length) / Indentation.Length;
            blocks.RemoveRange(Math.Min(depth, blocks.Count), Math.Max(0, blocks.Count - depth));
            members.Add(blocks.Count == 0 ? text : $"{string.Join('.', blocks)}: {text}");
            blocks.Add(Name(text));
        }

        return members;
    }

    // The name that a namespace or a type is given, without its modifiers, bases and constraints.
    private static string Name(string head)
    {
        var words = head.Split(" : ")[0].Split(" where ")[0].Split(' ');
        var kind = Array.FindIndex(words, static word => word is "namespace" or "class" or "struct" or "interface" or "enum");
        return kind < 0 ? head : string.Join(' ', words[(kind + 1)..]);
    }

    [GeneratedRegex(@"(?<=new [\w?\[\]]+ \{)\s*\n[^}]*(?=\})")]
    private static partial Regex AttributeValues();

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();

    [GeneratedRegex(@"(?<=\])\n *")]
    private static partial Regex EndOfAttribute();

    [GeneratedRegex(@"\n +where ")]
    private static partial Regex Constraint();

    [GeneratedRegex(@"^ *(\[.*?\] (?!\{))+")]
    private static partial Regex LeadingAttributes();

    [GeneratedRegex(@"(\w+)(<[\w, ]*>)?\(")]
    private static partial Regex Method();
}

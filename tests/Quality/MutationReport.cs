using System.Globalization;
using System.Text.Json;

namespace Quality;

/// <summary>A change of the code that Stryker made, and what the tests made of it.</summary>
/// <param name="Id">The number that switches it on.</param>
/// <param name="File">The file, from its project's folder on.</param>
/// <param name="Line">Where it begins.</param>
/// <param name="Kind">The mutator, e.g. "Equality mutation".</param>
/// <param name="Original">The code that was replaced, on one line.</param>
/// <param name="Replacement">What stood there instead, on one line.</param>
/// <param name="Status">Killed, Timeout, Crashed, Survived, NoCoverage, Ignored or CompileError; Pending before it was tried.</param>
/// <param name="By">The test that failed; empty if none did.</param>
internal sealed record Mutant(int Id, string File, int Line, string Kind, string Original, string Replacement, string Status, string By = "")
{
    /// <summary>Whether a test failed, ran on without end, or the process ended.</summary>
    public bool IsNoticed => Status is "Killed" or "Timeout" or "Crashed";

    /// <summary>Whether all tests passed, or none came there.</summary>
    public bool IsUnnoticed => Status is "Survived" or "NoCoverage";
}

/// <summary>Reads pages with a report of the mutation-testing-elements schema, which Stryker writes.</summary>
internal static class MutationReport
{
    private static ReadOnlySpan<byte> Beginning => "app.report = "u8;

    /// <summary>Every mutant of a report.</summary>
    /// <param name="path">The page; the report is an object in its script.</param>
    /// <param name="project">The mutated project's folder, from which files are named.</param>
    public static IReadOnlyList<Mutant> Read(string path, string project)
    {
        var page = File.ReadAllBytes(path);
        var script = new Utf8JsonReader(page.AsSpan(page.AsSpan().IndexOf(Beginning) + Beginning.Length));
        using var report = JsonDocument.ParseValue(ref script);
        List<Mutant> mutants = [];
        foreach (var file in report.RootElement.GetProperty("files").EnumerateObject())
        {
            var name = Path.GetRelativePath(project, Path.GetFullPath(file.Name, project)).Replace('\\', '/');
            var lines = file.Value.GetProperty("source").GetString()!.ReplaceLineEndings("\n").Split('\n');
            foreach (var mutant in file.Value.GetProperty("mutants").EnumerateArray())
            {
                var (start, end) = (Position(mutant, "start"), Position(mutant, "end"));
                var status = mutant.GetProperty("status").GetString()!;
                mutants.Add(new(
                    int.Parse(mutant.GetProperty("id").GetString()!, CultureInfo.InvariantCulture),
                    name,
                    start.Line,
                    mutant.GetProperty("mutatorName").GetString()!,
                    OneLine(Cut(lines, start, end)),
                    OneLine(mutant.GetProperty("replacement").GetString()!),
                    status is "Ignored" or "CompileError" ? status : "Pending"));
            }
        }

        return mutants;
    }

    // Lines and columns count from one; the end's column is the first one behind the code.
    private static (int Line, int Column) Position(JsonElement mutant, string name)
    {
        var position = mutant.GetProperty("location").GetProperty(name);
        return (position.GetProperty("line").GetInt32(), position.GetProperty("column").GetInt32());
    }

    private static string Cut(string[] lines, (int Line, int Column) start, (int Line, int Column) end)
    {
        var text = string.Join('\n', lines[(start.Line - 1)..end.Line]);
        var tail = lines[end.Line - 1].Length - Math.Min(end.Column - 1, lines[end.Line - 1].Length);
        return text[(start.Column - 1)..^tail];
    }

    private static string OneLine(string code) => string.Join(' ', code.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
}

using System.Collections.Immutable;
using System.IO.Enumeration;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The cells of this session, for front ends that page through what was typed.</summary>
internal sealed class ExecutionHistory
{
    // Requests are answered while a cell ends.
    private ImmutableList<(int Line, string Code, string? Output)> _cells = [];

    /// <summary>Remembers a cell and the text of its value.</summary>
    public void Add(int line, string code, string? output) =>
        ImmutableInterlocked.Update(ref _cells, static (cells, cell) => cells.Add(cell), (line, code, output));

    /// <summary>Answers a <c>history_request</c>: a range, the tail, or a search with <c>*</c> and <c>?</c>.</summary>
    public JsonObject Answer(JupyterMessage request)
    {
        var count = Math.Max(0, request.Number("n", int.MaxValue));
        var found = request.Text("hist_access_type") switch
        {
            // Sessions count backwards from 0, this one; others are not kept.
            "range" when request.Number("session", 0) == 0 =>
                _cells.Where(cell => cell.Line >= request.Number("start", 0) && cell.Line < request.Number("stop", int.MaxValue)),
            "range" => [],
            "search" => Search(request.Text("pattern") ?? "*", request.Flag("unique", whenMissing: false)).TakeLast(count),
            _ => _cells.TakeLast(count),
        };
        var withOutput = request.Flag("output", whenMissing: false);
        return new JsonObject
        {
            ["history"] = new JsonArray(
                [.. found.Select(cell => (JsonNode)new JsonArray(0, cell.Line, withOutput ? new JsonArray(cell.Code, cell.Output) : cell.Code))]),
        };
    }

    private IEnumerable<(int Line, string Code, string? Output)> Search(string pattern, bool unique)
    {
        var found = _cells.Where(cell => FileSystemName.MatchesSimpleExpression(pattern, cell.Code, ignoreCase: false));
        return unique ? found.Reverse().DistinctBy(cell => cell.Code).Reverse() : found;
    }
}

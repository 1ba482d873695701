using LoraNotebooks.Kernel.Notebooks;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Running;

/// <summary>The parameters given on the command line do not fit the notebook; the message lists every fault.</summary>
public sealed class RunParameterException(string message) : Exception(message);

/// <summary>Puts values from the command line into a notebook: a cell of assignments after the cell tagged <c>parameters</c>.</summary>
/// <remarks>The same convention as papermill's, with C# literals as values: what is given can name a value, never run code.</remarks>
internal static class RunParameters
{
    /// <summary>Inserts the cell; an injected cell of an earlier run is replaced.</summary>
    /// <param name="notebook">The notebook to change.</param>
    /// <param name="folder">The folder that relative paths in its cells start from.</param>
    /// <param name="values">C# literals by name; text for a string needs no quotes.</param>
    /// <exception cref="RunParameterException">No cell is tagged, a name is unknown, or a value does not fit.</exception>
    public static void Inject(Notebook notebook, string folder, IReadOnlyDictionary<string, string> values)
    {
        if (values.Count == 0)
        {
            return;
        }

        for (var i = notebook.Cells.Count - 1; i >= 0; i--)
        {
            if (notebook.Cells[i].IsInjected())
            {
                notebook.RemoveAt(i);
            }
        }

        var tagged = notebook.Cells.Index().FirstOrDefault(cell => cell.Item.Kind == CellKind.Code && cell.Item.Tags.Contains(CellTags.Parameters));
        if (tagged.Item is null)
        {
            throw new RunParameterException(
                $"The notebook has no code cell tagged \"{CellTags.Parameters}\", so it takes no -p. "
                    + "Add the tag to the cell that declares its settings.");
        }

        var assignments = Assignments(new ParameterCell(tagged.Item.Source, folder), values);
        notebook.Insert(tagged.Index + 1, CellKind.Code, "// Given on the command line\n" + string.Join('\n', assignments), CellTags.InjectedParameters);
    }

    private static IEnumerable<string> Assignments(ParameterCell cell, IReadOnlyDictionary<string, string> values)
    {
        var faults = new List<string>();
        var assignments = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in values)
        {
            if (!cell.Variables.TryGetValue(name, out var variable))
            {
                var known = cell.Variables.Values
                    .Where(field => field is { IsConst: false, IsReadOnly: false })
                    .Select(field => field.Name)
                    .Order(StringComparer.Ordinal);
                faults.Add($"There is no parameter {name}. This notebook has: {string.Join(", ", known)}.");
            }
            else if (variable.IsConst || variable.IsReadOnly)
            {
                faults.Add(
                    $"{name} is {(variable.IsConst ? "a const" : "readonly")} in the cell tagged \"{CellTags.Parameters}\" and cannot be set. "
                        + "Declare it as a variable to make it a parameter.");
            }
            else if (ParameterLiteral.ToCode(value, variable) is { } code)
            {
                // A name that is a word of the language was declared with an @.
                var written = SyntaxFacts.GetKeywordKind(name) == SyntaxKind.None ? name : "@" + name;
                assignments[name] = $"{written} = {code};";
            }
            else
            {
                faults.Add(Misfit(name));
            }
        }

        faults.AddRange(cell.Refused(assignments).Select(Misfit));
        return faults.Count == 0 ? assignments.Values : throw new RunParameterException(string.Join(Environment.NewLine, faults));

        string Misfit(string name) => $"{name}={values[name]}: {ParameterLiteral.Expected(cell.Variables[name].Type)}";
    }
}

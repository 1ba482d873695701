using LoraNotebooks.Kernel.Notebooks;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Running;

/// <summary>The parameters given on the command line do not fit the notebook; the message lists every fault.</summary>
public sealed class RunParameterException(string message) : Exception(message);

/// <summary>Puts values from the command line into a notebook: a cell of assignments after the cell tagged <c>parameters</c>.</summary>
/// <remarks>
/// The same convention as papermill's, with C# literals as values. An assignment, not a second declaration,
/// so that a value of another type than the default is a compile error.
/// </remarks>
internal static class RunParameters
{
    private const string ParametersTag = "parameters";
    private const string InjectedTag = "injected-parameters";

    /// <summary>Inserts the cell; an injected cell of an earlier run is replaced.</summary>
    /// <exception cref="RunParameterException">No cell is tagged, a name is unknown, or a value is not a literal.</exception>
    public static void Inject(Notebook notebook, IReadOnlyDictionary<string, string> values)
    {
        if (values.Count == 0)
        {
            return;
        }

        var earlier = notebook.Cells.Index().FirstOrDefault(cell => cell.Item.Tags.Contains(InjectedTag));
        if (earlier.Item is not null)
        {
            notebook.RemoveAt(earlier.Index);
        }

        var tagged = notebook.Cells.Index().FirstOrDefault(cell => cell.Item.Kind == CellKind.Code && cell.Item.Tags.Contains(ParametersTag));
        if (tagged.Item is null)
        {
            throw new RunParameterException($"The notebook has no code cell tagged \"{ParametersTag}\", so it takes no -p. Add the tag to the cell that declares its settings.");
        }

        var known = Declarations(tagged.Item.Source);
        var faults = new List<string>();
        var lines = new List<string>();
        foreach (var (name, value) in values)
        {
            if (!known.TryGetValue(name, out var type))
            {
                faults.Add($"There is no parameter {name}. This notebook has: {string.Join(", ", known.Keys)}.");
            }
            else if (Literal(value, type) is { } literal)
            {
                lines.Add($"{name} = {literal};");
            }
            else
            {
                faults.Add($"{name}={value}: expected a C# literal{(type.Length > 0 ? $" of type {type}" : "")}, for example 20, 1e-4, true, \"text\" or [1, 2, 4].");
            }
        }

        if (faults.Count > 0)
        {
            throw new RunParameterException(string.Join(Environment.NewLine, faults));
        }

        notebook.Insert(tagged.Index + 1, CellKind.Code, "// Given on the command line\n" + string.Join('\n', lines), InjectedTag);
    }

    /// <summary>The variables that a cell declares at its top level, with the type as written or as its literal shows it; empty if unknown.</summary>
    private static SortedDictionary<string, string> Declarations(string source)
    {
        var known = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var root = CSharpSyntaxTree.ParseText(source, new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script)).GetCompilationUnitRoot();
        foreach (var field in root.Members.OfType<FieldDeclarationSyntax>())
        {
            foreach (var variable in field.Declaration.Variables)
            {
                known[variable.Identifier.ValueText] = field.Declaration.Type is { IsVar: false } type ? type.ToString().TrimEnd('?') : TypeOf(variable.Initializer?.Value);
            }
        }

        return known;
    }

    private static string TypeOf(ExpressionSyntax? value) => value switch
    {
        PrefixUnaryExpressionSyntax sign => TypeOf(sign.Operand),
        LiteralExpressionSyntax literal => literal.Token.Value switch
        {
            string => "string",
            float => "float",
            double => "double",
            decimal => "decimal",
            int => "int",
            long => "long",
            bool => "bool",
            char => "char",
            _ => "",
        },
        InterpolatedStringExpressionSyntax => "string",
        _ => "",
    };

    /// <summary>The C# text of a value, or null if it is not one. Text for a string needs no quotes on the command line.</summary>
    private static string? Literal(string value, string type)
    {
        var expression = SyntaxFactory.ParseExpression(value);
        var isLiteral = !expression.ContainsDiagnostics && expression.FullSpan.Length == value.Length && IsLiteral(expression);
        if (type == "string")
        {
            return isLiteral && TypeOf(expression) == "string" ? value : SymbolDisplay.FormatLiteral(value, quote: true);
        }

        return (isLiteral, type, TypeOf(expression)) switch
        {
            (false, _, _) => null,
            (_, "float", "double") => value + "f",
            (_, "decimal", "double") => value + "m",
            _ => value,
        };
    }

    private static bool IsLiteral(ExpressionSyntax? expression) => expression switch
    {
        LiteralExpressionSyntax => true,
        PrefixUnaryExpressionSyntax sign => sign.Kind() is SyntaxKind.UnaryMinusExpression or SyntaxKind.UnaryPlusExpression && IsLiteral(sign.Operand),
        CollectionExpressionSyntax list => list.Elements.All(element => element is ExpressionElementSyntax item && IsLiteral(item.Expression)),
        _ => false,
    };
}

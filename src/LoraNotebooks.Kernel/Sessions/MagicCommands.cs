using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using LoraNotebooks.Interactive;
using TorchSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A magic that there is not, or that cannot be read; the message says what there is.</summary>
internal sealed class CellMagicException(string message) : Exception(message);

/// <summary>Does what the magics of a cell ask for.</summary>
internal static class MagicCommands
{
    private const int MostVariables = 1_000;

    /// <summary>What a cell can also say to the session, in the compiler's own words.</summary>
    private static readonly Magic[] Directives =
    [
        new("#i \"nuget: source\"", "Adds a package source, an address or a folder."),
        new("#r \"nuget: Name, version\"", "Makes a package usable."),
        new("#r \"file.dll\"", "Makes an assembly usable."),
        new("#load \"file.csx\"", "Runs a file of C# as part of the cell."),
    ];

    /// <summary>Applies magics before the C# behind them runs.</summary>
    /// <param name="magics">The magics of a part of the cell.</param>
    /// <param name="resolver">Learns of package sources.</param>
    /// <param name="variables">The variables of the session as they are now.</param>
    /// <param name="output">Receives text.</param>
    /// <returns>To be disposed when the cell has ended.</returns>
    /// <exception cref="CellMagicException">There is no such magic.</exception>
    public static IDisposable? Apply(
        IReadOnlyList<CellMagic> magics,
        CellReferenceResolver resolver,
        Func<IReadOnlyDictionary<string, object?>> variables,
        Action<string> output)
    {
        Timing? timing = null;
        foreach (var magic in magics)
        {
            switch (magic.Name)
            {
                case "#!time":
                    timing = new Timing(output);
                    break;
                case "#!about":
                    output(About() + "\n");
                    break;
                case "#!lsmagic":
                    output(string.Concat(CellMagics.Known.Concat(Directives).Select(known => $"{known.Name,-28} {known.Description}\n")));
                    break;
                case "#!csharp" or "#!c#" or "#!cs":
                    break;
                case "#!html":
                    Show(MimeTypes.Html, magic.Body);
                    break;
                case "#!markdown":
                    Show(MimeTypes.Markdown, magic.Body);
                    break;
                case "#!mermaid":
                    Show(MimeTypes.Markdown, $"```mermaid\n{magic.Body}\n```");
                    break;
                case "#!who":
                    output(
                        (variables() is { Count: > 0 } named
                            ? string.Join(", ", named.Keys.Order(StringComparer.Ordinal))
                            : "There are no variables yet.") + "\n");
                    break;
                case "#!whos":
                    Show(variables());
                    break;
                default:
                    Check(magic, resolver);
                    break;
            }
        }

        return timing;
    }

    /// <summary>Does the part of a magic that the compiler needs to know of.</summary>
    /// <exception cref="CellMagicException">There is no such magic.</exception>
    public static void Check(CellMagic magic, CellReferenceResolver resolver)
    {
        if (magic.Name == "#i")
        {
            resolver.AddSource(magic.Argument);
        }
        else if (CellLanguages.OfMagic(magic.Name) is { Magic: null } language)
        {
            throw new CellMagicException($"What follows {magic.Name} {CellLanguages.Refusal(language)}. #!lsmagic lists what there is.");
        }
        else if (CellMagics.OfLine(magic.Name) is null)
        {
            throw new CellMagicException($"There is no {magic.Name}. There are: {string.Join(", ", CellMagics.Known.Select(known => known.Name))}.");
        }
    }

    private static void Show(string mimeType, string markup) => NotebookHost.Current.Display(new RawMarkup(mimeType, markup).ToMimeBundle());

    private static void Show(IReadOnlyDictionary<string, object?> variables)
    {
        if (variables.Count == 0)
        {
            NotebookHost.Current.Display(MimeBundle.FromText("There are no variables yet."));
            return;
        }

        var rows = variables.OrderBy(variable => variable.Key, StringComparer.Ordinal)
            .Select(variable => (IReadOnlyList<object?>)[variable.Key, variable.Value is null ? "" : variable.Value.GetType(), variable.Value ?? "null"]);
        NotebookHost.Current.Display(new TableDisplay(["Name", "Type", "Value"], rows) { MostRows = MostVariables }.ToMimeBundle());
    }

    private static string About()
    {
        var version = typeof(MagicCommands).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];
        return $"LoraNotebooks {version}, .NET {Environment.Version}, TorchSharp {typeof(torch).Assembly.GetName().Version?.ToString(3)}, "
            + $"{RuntimeInformation.OSDescription} {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} processors";
    }

    private sealed class Timing(Action<string> output) : IDisposable
    {
        private readonly long _started = Stopwatch.GetTimestamp();

        public void Dispose()
        {
            var elapsed = Stopwatch.GetElapsedTime(_started);
            var (number, unit) = elapsed.TotalSeconds < 1 ? (elapsed.TotalMilliseconds, "ms") : (elapsed.TotalSeconds, "s");
            output(string.Create(CultureInfo.InvariantCulture, $"Wall time: {number:0.##} {unit}\n"));
        }
    }
}

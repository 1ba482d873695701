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
    /// <summary>Applies magics before the cell runs.</summary>
    /// <param name="magics">The magics of the cell.</param>
    /// <param name="code">The whole cell.</param>
    /// <param name="resolver">Learns of package sources.</param>
    /// <param name="output">Receives text.</param>
    /// <returns>To be disposed when the cell has ended.</returns>
    /// <exception cref="CellMagicException">There is no such magic.</exception>
    public static IDisposable? Apply(IReadOnlyList<CellMagic> magics, string code, CellReferenceResolver resolver, Action<string> output)
    {
        Timing? timing = null;
        foreach (var magic in magics)
        {
            switch (magic.Name)
            {
                case "time":
                    timing = new Timing(output);
                    break;
                case "about":
                    output(About() + "\n");
                    break;
                case "lsmagic":
                    output(string.Concat(CellMagics.Known.Select(known => $"{known.Name,-28} {known.Meaning}\n")));
                    break;
                case "csharp" or "c#" or "cs":
                    break;
                case "html":
                    Show(MimeTypes.Html, Rest(code, magic.Line));
                    break;
                case "markdown":
                    Show(MimeTypes.Markdown, Rest(code, magic.Line));
                    break;
                case "i":
                    resolver.AddSource(magic.Argument);
                    break;
                default:
                    throw new CellMagicException($"There is no #!{magic.Name}. There are: {string.Join(", ", CellMagics.Known.Where(known => known.Name.StartsWith("#!", StringComparison.Ordinal)).Select(known => known.Name))}.");
            }
        }

        return timing;
    }

    private static void Show(string mimeType, string markup) => NotebookHost.Current.Display(new RawMarkup(mimeType, markup).ToMimeBundle());

    private static string Rest(string code, int line) => string.Join('\n', code.ReplaceLineEndings("\n").Split('\n').Skip(line + 1));

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
            output(string.Create(CultureInfo.InvariantCulture, $"Wall time: {(elapsed.TotalSeconds < 1 ? elapsed.TotalMilliseconds : elapsed.TotalSeconds):0.##} {(elapsed.TotalSeconds < 1 ? "ms" : "s")}\n"));
        }
    }
}

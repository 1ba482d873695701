using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Spectre.Console;

namespace LoraNotebooks.Interactive.Tests;

public sealed partial class ConsoleHostTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("console").FullName;
    private readonly Terminal _terminal = new(width: 30, height: 6);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Update_InAPipe_WritesOnlyWhatIsNew()
    {
        var output = new StringWriter { NewLine = "\n" };
        var handle = new ConsoleHost(output).Display(MimeBundle.FromText("step 1"));
        handle.Update(MimeBundle.FromText("step 1"));
        handle.Update(MimeBundle.FromText("step 1\nstep 2"));
        handle.Update(MimeBundle.FromText("done"));
        Assert.Equal("step 1\nstep 2\ndone\n", output.ToString());
    }

    [Fact]
    public void Update_OnATerminal_RewritesItsLinesInPlace()
    {
        var host = new ConsoleHost(_terminal.Console);
        var first = host.Display(MimeBundle.FromText("step 1\nloss 0.5"));
        var second = host.Display(MimeBundle.FromText("samples 0"));
        first.Update(MimeBundle.FromText("step 2"));
        second.Update(MimeBundle.FromText("samples 1\nsamples 2"));
        Assert.Equal(["step 2", "samples 1", "samples 2"], _terminal.Screen);
    }

    [Fact]
    public void Update_ADisplayThatScrolledAway_WritesItsNewsAboveTheRest()
    {
        var host = new ConsoleHost(_terminal.Console);
        var first = host.Display(MimeBundle.FromText("a"));
        var rest = Enumerable.Range(1, 5).Select(i => host.Display(MimeBundle.FromText($"{i}"))).ToArray();
        first.Update(MimeBundle.FromText("a\nb"));
        rest[4].Update(MimeBundle.FromText("five"));
        Assert.Equal(["a", "b", "1", "2", "3", "4", "five"], _terminal.Screen);
    }

    [Fact]
    public void Update_TextHigherThanTheWindow_GoesOnAsLines()
    {
        var handle = new ConsoleHost(_terminal.Console).Display(MimeBundle.FromText("1\n2"));
        handle.Update(MimeBundle.FromText("1\n2\n3\n4\n5\n6"));
        handle.Update(MimeBundle.FromText("1\n2\n3\n4\n5\n6\n7"));
        Assert.Equal(["1", "2", "3", "4", "5", "6", "7"], _terminal.Screen);
    }

    [Fact]
    public void Display_LongLinesAndControlCharacters_CannotBreakTheScreen()
    {
        var handle = new ConsoleHost(_terminal.Console).Display(MimeBundle.FromText(new string('漢', 40)));
        handle.Update(MimeBundle.FromText("\e[2J\a" + new string('x', 100)));
        var line = Assert.Single(_terminal.Screen);
        Assert.StartsWith("[2Jxxx", line);
        Assert.InRange(line.Length, 20, 29);
    }

    [Fact]
    public void Display_Picture_SaysItsSizeAndIsSavedWhereAFolderIsGiven()
    {
        var output = new StringWriter { NewLine = "\n" };
        var host = new ConsoleHost(output);
        host.Display(DisplayFormatter.Format(Some.Image(8, 6)));
        Assert.Contains("(picture, 8 × 6 pixels)\n", output.ToString());
        host.PictureFolder = Path.Combine(_folder, "pictures");
        host.Display(DisplayFormatter.Format(Some.Image(8, 6)));
        host.Display(new Gallery([Some.Image(), Some.Image()]).ToMimeBundle());
        Assert.Equal(Some.Image(8, 6).EncodePng(), File.ReadAllBytes(Path.Combine(host.PictureFolder, "002.png")));
        Assert.Contains("<img ", File.ReadAllText(Path.Combine(host.PictureFolder, "003.html")));
        Assert.Contains("(2 pictures: ", output.ToString());
    }

    [Fact]
    public void Display_FolderThatCannotBe_IsSaidAndNotThrown()
    {
        var output = new StringWriter();
        var file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        new ConsoleHost(output) { PictureFolder = file }.Display(DisplayFormatter.Format(Some.Image()));
        Assert.Contains("not saved", output.ToString());
    }

    /// <summary>A screen that understands what the region writes: text, line ends, cursor up, erase to the end.</summary>
    private sealed partial class Terminal : IAnsiConsoleOutput
    {
        private readonly StringWriter _written = new() { NewLine = "\n" };

        public Terminal(int width, int height)
        {
            (Width, Height) = (width, height);
            Console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.Yes, Interactive = InteractionSupport.Yes, Out = this });
        }

        public IAnsiConsole Console { get; }

        public TextWriter Writer => _written;

        public bool IsTerminal => true;

        public int Width { get; }

        public int Height { get; }

        public IReadOnlyList<string> Screen
        {
            get
            {
                var lines = new List<string> { "" };
                var row = 0;
                foreach (Match part in Part().Matches(_written.ToString()))
                {
                    if (part.Groups["up"].Success)
                    {
                        row -= int.Parse(part.Groups["up"].Value, CultureInfo.InvariantCulture);
                        // What has scrolled out of the window cannot be reached.
                        Assert.InRange(lines.Count - row, 1, Height);
                    }
                    else if (part.Groups["erase"].Success)
                    {
                        lines.RemoveRange(row, lines.Count - row);
                        lines.Add("");
                    }
                    else if (part.Value == "\n")
                    {
                        row++;
                        lines.Add("");
                    }
                    else if (part.Value != "\r")
                    {
                        lines[row] += part.Value;
                    }
                }

                return lines[..^1];
            }
        }

        public void SetEncoding(Encoding encoding)
        {
        }

        [GeneratedRegex(@"\e\[(?<up>\d+)A|(?<erase>\e\[J)|\n|\r|[^\e\n\r]+")]
        private static partial Regex Part();
    }
}

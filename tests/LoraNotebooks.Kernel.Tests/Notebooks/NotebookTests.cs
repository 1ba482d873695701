using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Notebooks;

public sealed class NotebookTests
{
    // As Jupyter writes it, with things that this library knows nothing of.
    private const string Jupyter = """
        {
         "cells": [
          {
           "attachments": {},
           "cell_type": "markdown",
           "id": "intro",
           "metadata": {
            "slideshow": {
             "slide_type": "slide"
            }
           },
           "source": [
            "# Größe 🎨\n",
            "a \"quoted\" \\ path\ttab </script> \u001b"
           ]
          },
          {
           "cell_type": "code",
           "execution_count": 3,
           "id": "7c2f",
           "metadata": {
            "future": [
             1,
             2.50,
             1e-4,
             null,
             true,
             {},
             []
            ],
            "tags": [
             "parameters"
            ]
           },
           "outputs": [
            {
             "data": {
              "text/plain": [
               "2"
              ]
             },
             "execution_count": 3,
             "metadata": {},
             "output_type": "execute_result"
            }
           ],
           "source": "1 + 1"
          }
         ],
         "metadata": {
          "kernelspec": {
           "display_name": ".NET (C#)",
           "language": "C#",
           "name": ".net-csharp"
          },
          "unknown": "kept"
         },
         "nbformat": 4,
         "nbformat_minor": 5
        }

        """;

    [Fact]
    public void ToJson_OfAFileFromJupyter_IsTheSameBytes()
    {
        var text = Jupyter.ReplaceLineEndings("\n");
        Assert.Equal(text, Notebook.Parse(text).ToJson());
    }

    [Theory]
    [InlineData("  ")]
    [InlineData("\t")]
    public void ToJson_OtherIndentation_IsKept(string indent)
    {
        var text = string.Join('\n', Jupyter.ReplaceLineEndings("\n").Split('\n').Select(line =>
        {
            var depth = line.Length - line.TrimStart(' ').Length;
            return string.Concat(Enumerable.Repeat(indent, depth)) + line[depth..];
        }));
        Assert.Equal(text, Notebook.Parse(text).ToJson());
    }

    [Fact]
    public void Parse_Cells_AreRead()
    {
        var notebook = Notebook.Parse(Jupyter);
        Assert.Equal("C#", notebook.Language);
        Assert.Equal([CellKind.Markdown, CellKind.Code], notebook.Cells.Select(cell => cell.Kind));
        Assert.Equal("# Größe 🎨\na \"quoted\" \\ path\ttab </script> \u001b", notebook.Cells[0].Source);
        Assert.Equal("1 + 1", notebook.Cells[1].Source);
        Assert.Equal(["parameters"], notebook.Cells[1].Tags);
        Assert.Equal("7c2f", notebook.Cells[1].Id);
    }

    [Fact]
    public void Save_AndLoad_RoundTripsThroughAFile()
    {
        using var folder = new TemporaryFolder();
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "# Title\n\nProse");
        notebook.Add(CellKind.Code, "1 + 1", "parameters");
        notebook.Save(folder.File("a.ipynb"));
        var loaded = Notebook.Load(folder.File("a.ipynb"));
        Assert.Equal(notebook.ToJson(), loaded.ToJson());
        Assert.True(loaded.IsCSharp);
        Assert.Equal(2, loaded.Cells.Select(cell => cell.Id).Distinct().Count());
    }

    [Fact]
    public void Normalize_OldMinorVersion_GetsIds()
    {
        var notebook = Notebook.Parse("""{"cells": [{"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": null}], "metadata": {}, "nbformat": 4, "nbformat_minor": 2}""");
        notebook.Normalize();
        Assert.NotNull(notebook.Cells[0].Id);
        Assert.Equal("C#", notebook.Language);
        Assert.Contains("\"nbformat_minor\": 5", notebook.ToJson(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "not JSON")]
    [InlineData("{", "not JSON")]
    [InlineData("[1]", "not an object")]
    [InlineData("{}", "nbformat")]
    [InlineData("""{"nbformat": 3, "worksheets": []}""", "nbformat 3")]
    [InlineData("""{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}""", "cells")]
    [InlineData("""{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": ""}, 7]}""", "cell 2 of 2")]
    [InlineData("""{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "chart", "source": ""}]}""", "chart")]
    [InlineData("""{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": [1]}]}""", "source")]
    [InlineData("""{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": "\ud800"}]}""", "Unicode")]
    [InlineData("""{"nbformat": 4, "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}""", "not JSON")]
    public void Parse_NotANotebook_SaysWhatIsWrong(string text, string expected)
    {
        var error = Assert.Throws<InvalidDataException>(() => Notebook.Parse(text));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NotUtf8_SaysSo()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("a.ipynb"), [0x7b, 0xff, 0xfe]);
        var error = Assert.Throws<InvalidDataException>(() => Notebook.Load(folder.File("a.ipynb")));
        Assert.Contains("UTF-8", error.Message, StringComparison.Ordinal);
        Assert.Contains("a.ipynb", error.Message, StringComparison.Ordinal);
    }
}

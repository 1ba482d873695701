using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>The tags of a dataset's captions: how often each occurs, as a number and a bar, and where.</summary>
public sealed class TagTableDisplay : RichDisplay
{
    private const int SampleFiles = 3;

    /// <summary>A display of a tag table.</summary>
    public TagTableDisplay(TagTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        Table = table;
    }

    /// <summary>What is shown.</summary>
    public TagTable Table { get; }

    /// <summary>The title.</summary>
    public string Title { get; init; } = "Tags";

    /// <summary>The most tags shown, the most frequent first; default 40.</summary>
    public int MostTags { get; init; } = 40;

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var head = Look.Tr(Look.Th("tag"), Look.Th("images", "right"), Look.Th("share", "right"), Look.Th(""), Look.Th("for example in"));
        var rows = Table.Tags.Take(MostTags).Select(tag => Look.Tr(
            Look.Cell(tag.Tag),
            Look.Cell(Numbers.Count(tag.Count), "right"),
            Look.Cell(Numbers.Percent(tag.Share), "right"),
            Look.Cell(Look.Bar(tag.Share, 140, 8)),
            Look.Cell(Look.Quiet(Examples(tag)))));
        return Look.Page(Title, Facts(), Look.Grid(rows.Prepend(head)));
    }

    /// <inheritdoc/>
    public override string ToText() => $"{Title}: {Facts()}{string.Concat(Table.Tags.Take(MostTags).Select(tag => $"\n  {tag.Count,5}  {tag.Tag}"))}";

    private string Facts()
    {
        var cut = Table.Tags.Count > MostTags ? $", the first {MostTags} shown" : "";
        return $"{Table.Tags.Count} different in {Numbers.Of(Table.Captions.Count, "caption")}{cut}";
    }

    private static string Examples(TagCount tag) =>
        string.Join(", ", tag.Files.Take(SampleFiles)) + (tag.Count > SampleFiles ? ", …" : "");
}

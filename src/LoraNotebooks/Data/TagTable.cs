namespace LoraNotebooks.Data;

/// <summary>An image and its caption.</summary>
/// <param name="File">The image's name in its dataset.</param>
/// <param name="Caption">The caption: tags between commas, or prose.</param>
public sealed record CaptionedImage(string File, string Caption);

/// <summary>A tag and where it occurs.</summary>
/// <param name="Tag">The tag as it is first spelt.</param>
/// <param name="Files">The images whose captions have it, in the order of the dataset.</param>
/// <param name="Share">Their part of all images, 0 to 1.</param>
public sealed record TagCount(string Tag, IReadOnlyList<string> Files, double Share)
{
    /// <summary>The number of images that have the tag.</summary>
    public int Count => Files.Count;
}

/// <summary>
/// The tags of a dataset's captions, with the edits that prepare them. Tags are the parts between commas; upper and lower case count as
/// the same, as for CLIP's text encoder.
/// </summary>
/// <remarks>No operation changes the table: each gives a new one. A caption that an operation does not touch keeps its exact text.</remarks>
public sealed class TagTable
{
    private readonly Lazy<IReadOnlyList<TagCount>> _tags;

    /// <param name="captions">The captions.</param>
    public TagTable(IEnumerable<CaptionedImage> captions)
    {
        ArgumentNullException.ThrowIfNull(captions);
        Captions = [.. captions];
        _tags = new(CountTags);
    }

    /// <summary>The captions.</summary>
    public IReadOnlyList<CaptionedImage> Captions { get; }

    /// <summary>The tags, the most frequent first, equally frequent ones in alphabetical order.</summary>
    public IReadOnlyList<TagCount> Tags => _tags.Value;

    /// <summary>One tag's entry, or null when no caption has it.</summary>
    public TagCount? this[string tag] => Tags.FirstOrDefault(count => CaptionTags.Comparer.Equals(count.Tag, tag));

    /// <summary>
    /// The tags that most images have. What is always there is learnt as part of the trigger word; such tags are candidates for
    /// <see cref="Prune(string[])"/> when the trigger word shall stand for them.
    /// </summary>
    /// <param name="share">The least part of all images, above 0, at most 1. Default 0.8.</param>
    /// <param name="except">A tag that is meant to be everywhere, such as the trigger word.</param>
    public IReadOnlyList<TagCount> Redundant(double share = 0.8, string? except = null)
    {
        if (share is not (> 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(share), share, "Expected a part of the images above 0 and at most 1.");
        }

        // Shares are fractions: 0.8 of 5 images is 4, also where 4.0/5 and 0.8 differ in the last bit.
        return [.. Tags.Where(tag => tag.Share >= share - 1e-9 && !CaptionTags.Comparer.Equals(tag.Tag, except))];
    }

    /// <summary>The table without some tags; those that no caption has are no fault.</summary>
    public TagTable Prune(params string[] unwanted)
    {
        ArgumentNullException.ThrowIfNull(unwanted);
        foreach (var tag in unwanted)
        {
            CaptionTags.ThrowIfNoTag(tag, nameof(unwanted));
        }

        var set = unwanted.ToHashSet(CaptionTags.Comparer);
        return Edit((_, captionTags) => captionTags.Where(tag => !set.Contains(tag)));
    }

    /// <summary>The table with a tag in another's place. A caption that then has it twice keeps the first.</summary>
    /// <param name="old">The tag to replace.</param>
    /// <param name="replacement">What comes in its place: one tag, or several between commas.</param>
    /// <exception cref="ArgumentException">No caption has the tag.</exception>
    public TagTable Replace(string old, string replacement)
    {
        CaptionTags.ThrowIfNoTag(old, nameof(old));
        ArgumentNullException.ThrowIfNull(replacement);
        ThrowIfLineBreak(replacement, nameof(replacement));
        var inserted = CaptionTags.Split(replacement);
        if (inserted.Length == 0)
        {
            throw new ArgumentException($"The replacement of '{old}' is empty, expected a tag. Use Prune to remove a tag.", nameof(replacement));
        }

        if (this[old] is null)
        {
            throw new ArgumentException(
                $"No caption has the tag '{old}'. "
                + (Tags.Count == 0
                    ? "There are no tags."
                    : $"The most frequent tags are {CaptionTags.Join(Tags.Take(8).Select(static tag => tag.Tag))}."),
                nameof(old));
        }

        return Edit((_, captionTags) => captionTags.Any(tag => CaptionTags.Comparer.Equals(tag, old))
            ? captionTags.SelectMany(tag => CaptionTags.Comparer.Equals(tag, old) ? inserted : [tag]).Distinct(CaptionTags.Comparer)
            : captionTags);
    }

    /// <summary>The table with a tag added to captions that lack it.</summary>
    /// <param name="tag">The tag.</param>
    /// <param name="first">Whether it comes to the head of the caption instead of the end. Default false.</param>
    /// <param name="files">The images that get it; default null: all.</param>
    /// <exception cref="ArgumentException">A file is not in the table.</exception>
    public TagTable Add(string tag, bool first = false, IEnumerable<string>? files = null)
    {
        CaptionTags.ThrowIfNoTag(tag, nameof(tag));
        var chosen = files?.ToHashSet(StringComparer.Ordinal);
        var unknown = chosen?.Except(Captions.Select(static caption => caption.File)).ToList() ?? [];
        if (unknown.Count > 0)
        {
            var remedy = Captions.Count == 0 ? "It is empty." : $"Give names as in Captions, for example {Captions[0].File}.";
            throw new ArgumentException($"The table has no {string.Join(", ", unknown)}. {remedy}", nameof(files));
        }

        return Edit((file, captionTags) => chosen?.Contains(file) == false || captionTags.Contains(tag, CaptionTags.Comparer)
            ? captionTags
            : first ? [tag, .. captionTags] : [.. captionTags, tag]);
    }

    /// <summary>The table with a word at the head of every caption; where it stands elsewhere in a caption, it moves.</summary>
    public TagTable WithTriggerWord(string word)
    {
        CaptionTags.ThrowIfNoTag(word, nameof(word));
        return new(Captions.Select(caption => caption with { Caption = CaptionTags.WithFirst(caption.Caption, word) }));
    }

    private TagTable Edit(Func<string, string[], IEnumerable<string>> edit) => new(Captions.Select(caption =>
    {
        var before = CaptionTags.Split(caption.Caption);
        var after = edit(caption.File, before).ToArray();
        return after.SequenceEqual(before) ? caption : caption with { Caption = CaptionTags.Join(after) };
    }));

    private IReadOnlyList<TagCount> CountTags()
    {
        var files = new Dictionary<string, List<string>>(CaptionTags.Comparer);
        foreach (var caption in Captions)
        {
            foreach (var tag in CaptionTags.Split(caption.Caption).Distinct(CaptionTags.Comparer))
            {
                if (!files.TryGetValue(tag, out var list))
                {
                    files.Add(tag, list = []);
                }

                list.Add(caption.File);
            }
        }

        return [.. files
            .Select(pair => new TagCount(pair.Key, pair.Value, (double)pair.Value.Count / Captions.Count))
            .OrderByDescending(static tag => tag.Count)
            .ThenBy(static tag => tag.Tag, StringComparer.Ordinal)];
    }

    private static void ThrowIfLineBreak(string text, string parameter)
    {
        if (text.AsSpan().IndexOfAny('\r', '\n') >= 0)
        {
            throw new ArgumentException($"Got a line break in '{text}', expected one line: a caption is the first line of its file.", parameter);
        }
    }
}

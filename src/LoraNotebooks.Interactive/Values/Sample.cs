using System.Collections;

namespace LoraNotebooks.Interactive;

/// <summary>The first items of a sequence, and what is known of the rest.</summary>
/// <param name="Items">The items; a <see cref="Fault"/> in place of the one whose making failed.</param>
/// <param name="Count">How many there are in all, where that is known.</param>
/// <param name="HasMore">Whether there are more than those taken.</param>
internal sealed record Sample(IReadOnlyList<object?> Items, long? Count, bool HasMore)
{
    /// <summary>Takes at most <paramref name="most"/> items, and asks for one more to know whether there is one.</summary>
    public static Sample Of(IEnumerable sequence, int most)
    {
        var items = new List<object?>();
        var hasMore = false;
        try
        {
            foreach (var item in sequence)
            {
                if (items.Count == most)
                {
                    hasMore = true;
                    break;
                }

                items.Add(item);
            }
        }
        catch (Exception error)
        {
            items.Add(new Fault(error));
        }

        return new(items, hasMore ? CountOf(sequence) : items.Count, hasMore);
    }

    private static long? CountOf(IEnumerable sequence)
    {
        try
        {
            var contract = sequence.GetType()
                .GetInterfaces()
                .FirstOrDefault(type => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyCollection<>));
            return sequence is ICollection collection ? collection.Count : (int?)contract?.GetProperty(nameof(ICollection.Count))?.GetValue(sequence);
        }
        catch (Exception)
        {
            return null;
        }
    }
}
